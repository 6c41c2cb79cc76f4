"""One order of clips a (seed, epoch): at any number of ranks, and after going on with another number of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch.utils.data import BatchSampler

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset, ClipSampler
from tests.builders.clips import built

CLIPS = 23


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    folder = tmp_path_factory.mktemp("sampler") / "data"
    built(folder, CLIPS, clips_per_shard=3)
    return ClipDataset(folder, crop=48, frames=4)


def ids(dataset: ClipDataset, numbers: list[int]) -> list[str]:
    return np.asarray(dataset.index["clip_id"])[numbers].tolist()


def interleaved(samplers: list[ClipSampler], steps: int | None = None) -> list[int]:
    """What all ranks take, step by step."""
    return [int(number) for step in list(zip(*samplers, strict=True))[:steps] for number in step]


def ranks(dataset: ClipDataset, world_size: int, epoch: int = 0, **more: object) -> list[ClipSampler]:
    samplers = [ClipSampler(dataset, rank=rank, world_size=world_size, seed=5, **more) for rank in range(world_size)]  # type: ignore[arg-type]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return samplers


@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
def test_all_ranks_together_take_the_same_order(dataset: ClipDataset, world_size: int) -> None:
    one = ids(dataset, list(ranks(dataset, 1, epoch=3)[0]))
    assert sorted(one) == sorted(ids(dataset, list(range(CLIPS))))
    assert ids(dataset, interleaved(ranks(dataset, world_size, epoch=3)))[:CLIPS] == one


@pytest.mark.parametrize("drop_last", [False, True])
def test_every_rank_takes_equally_many_steps(dataset: ClipDataset, drop_last: bool) -> None:
    samplers = ranks(dataset, 4, drop_last=drop_last)
    lengths = {len(list(sampler)) for sampler in samplers}
    assert lengths == {len(samplers[0])} == {5 if drop_last else 6}


def test_epochs_and_seeds_have_orders_of_their_own(dataset: ClipDataset) -> None:
    orders = {tuple(ranks(dataset, 1, epoch)[0]) for epoch in range(5)} | {tuple(ClipSampler(dataset, seed=6))}
    assert len(orders) == 6


def test_an_order_is_the_same_the_next_time(dataset: ClipDataset) -> None:
    assert list(ranks(dataset, 1, 2)[0]) == list(ranks(dataset, 1, 2)[0])


def test_unshuffled_is_the_datasets_order(dataset: ClipDataset) -> None:
    assert list(ClipSampler(dataset, shuffle=False)) == list(range(CLIPS))


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 4), (4, 2)])
def test_an_epoch_goes_on_exactly_at_another_number_of_ranks(dataset: ClipDataset, before: int, after: int) -> None:
    whole = [int(number) for number in ranks(dataset, 1, epoch=1)[0]]
    first = ranks(dataset, before, epoch=1)
    taken = interleaved(first, steps=2)
    second = ranks(dataset, after)
    for sampler in second:
        sampler.load_state_dict(first[0].state_dict(taken=2))
        sampler.set_epoch(1)
    assert (taken + interleaved(second))[:CLIPS] == whole


def test_the_state_counts_what_was_yielded(dataset: ClipDataset) -> None:
    sampler = ClipSampler(dataset, seed=5)
    iterator = iter(sampler)
    begun = [int(next(iterator)) for _ in range(7)]
    other = ClipSampler(dataset, seed=5)
    other.load_state_dict(sampler.state_dict())
    assert len(other) == CLIPS - 7
    assert begun + list(other) == list(ClipSampler(dataset, seed=5))


def test_the_epoch_after_a_resumed_one_is_whole(dataset: ClipDataset) -> None:
    sampler = ClipSampler(dataset)
    sampler.load_state_dict(sampler.state_dict(taken=20))
    sampler.set_epoch(1)
    assert len(list(sampler)) == CLIPS


def test_a_pass_after_a_whole_one_is_the_next_epoch_where_nobody_says_so(dataset: ClipDataset) -> None:
    said = [[int(number) for number in ranks(dataset, 1, epoch)[0]] for epoch in (3, 4, 5)]
    sampler = ClipSampler(dataset, seed=5)
    sampler.load_state_dict({"epoch": 3, "consumed": 6, "seed": 5, "clips": CLIPS})
    assert list(sampler) == said[0][6:]
    assert sampler.state_dict() == {"epoch": 3, "consumed": CLIPS, "seed": 5, "clips": CLIPS}
    assert len(sampler) == CLIPS
    next(iter(sampler))  # a pass that is broken off is begun again
    assert list(sampler) == said[1]
    sampler.set_epoch(4)  # said once more, it comes once more
    assert list(sampler) == said[1]
    numbers = list(sampler)
    assert numbers == said[2]
    assert {number.epoch for number in numbers} == {5}  # type: ignore[attr-defined]


def test_a_window_keeps_few_shards_open_and_still_mixes_them(dataset: ClipDataset) -> None:
    order = list(ClipSampler(dataset, window=2))
    shards = np.asarray(dataset.index["shard"])[order].tolist()
    assert all(len(set(shards[begin : begin + 6])) <= 4 for begin in range(0, CLIPS, 6))
    assert any(len(set(shards[begin : begin + 3])) > 1 for begin in range(0, CLIPS, 3))


def test_a_state_of_another_dataset_or_seed_is_refused(dataset: ClipDataset) -> None:
    state = ClipSampler(dataset, seed=5).state_dict()
    with pytest.raises(UserError, match="has seed 5; this sampler has 6"):
        ClipSampler(dataset, seed=6).load_state_dict(state)
    with pytest.raises(UserError, match="has clips 22"):
        ClipSampler(dataset, seed=5).load_state_dict(state | {"clips": 22})


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (1, 1)])
def test_a_rank_that_there_is_not_is_refused(dataset: ClipDataset, rank: int, world_size: int) -> None:
    with pytest.raises(UserError, match="rank is"):
        ClipSampler(dataset, rank=rank, world_size=world_size)


@pytest.mark.parametrize("wrong", [{"rank": "0"}, {"world_size": 0}, {"window": 2.5}, {"seed": None}], ids=str)
def test_an_argument_of_the_wrong_kind_is_named(dataset: ClipDataset, wrong: dict[str, object]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"^{name} is {value!r}; allowed: "):
        ClipSampler(dataset, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"consumed": -1}, {"consumed": CLIPS + 1}, {"consumed": 2.5}, {"epoch": None}])
def test_a_state_that_cannot_be_is_named(dataset: ClipDataset, change: dict[str, object]) -> None:
    sampler = ClipSampler(dataset)
    with pytest.raises(UserError, match="of the state is"):
        sampler.load_state_dict(sampler.state_dict() | change)


@pytest.mark.parametrize("state", [{}, None, {"seed": 0}])
def test_what_is_no_state_is_named(dataset: ClipDataset, state: object) -> None:
    with pytest.raises(UserError, match="allowed: what `state_dict` gives"):
        ClipSampler(dataset).load_state_dict(state)  # type: ignore[arg-type]


ACCELERATE = """
class BatchSamplerShard:  # the loop of accelerate 1.15, for whole batches
    def __init__(self, batch_sampler, num_processes, process_index):
        self.batch_sampler, self.num_processes, self.process_index = batch_sampler, num_processes, process_index

    def __iter__(self):
        return self._iter_with_no_split()

    def _iter_with_no_split(self):
        for idx, batch in enumerate(self.batch_sampler):
            if idx % self.num_processes == self.process_index:
                yield batch
"""


def test_a_part_of_a_part_is_refused_under_accelerate(dataset: ClipDataset) -> None:
    names = {"__name__": "accelerate.data_loader"}
    exec(ACCELERATE, names)
    shard: Any = names["BatchSamplerShard"]
    with pytest.raises(UserError, match=r"part of rank 1 of 2; give ClipSampler\(..., rank=0, world_size=1\)"):
        list(shard(BatchSampler(ClipSampler(dataset, rank=1, world_size=2), 1, False), 2, 1))
    taken = [
        number
        for rank in range(2)
        for batch in shard(BatchSampler(ClipSampler(dataset, rank=0, world_size=1), 1, False), 2, rank)
        for number in batch
    ]
    assert sorted(taken) == list(range(CLIPS))


def test_a_sampler_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="not for a list"):
        ClipSampler([1, 2])  # type: ignore[arg-type]
