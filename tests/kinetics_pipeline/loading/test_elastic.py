"""An epoch is the same at any number of ranks and loading processes, also when it goes on with another number."""

from __future__ import annotations

import hashlib
from itertools import zip_longest

import pytest
from torch.utils.data import DataLoader

from kinetics_pipeline.loading import ClipDataset, ClipSampler, collate
from kinetics_pipeline.recipe import Recipe
from tests.builders.clips import built

CLIPS, BATCH, EPOCH = 16, 2, 3
Taken = list[tuple[str, bool, str]]
"""The clip of each sample, whether it is flipped, and what stands for its frames and crops."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    folder = tmp_path_factory.mktemp("elastic") / "data"
    built(folder, CLIPS, clips_per_shard=3, recipe=Recipe(short_side=48, flow="none"))
    return ClipDataset(folder, frames=4, crop=32, seed=7, raw=True)


def taken(
    dataset: ClipDataset, ranks: int, workers: int, state: dict | None = None, steps: int | None = None
) -> tuple[Taken, dict]:
    """What all ranks take from `state` on, in the order of the steps, and the state after them."""
    by_rank = []
    for rank in range(ranks):
        sampler = ClipSampler(dataset, rank=rank, world_size=ranks, seed=5)
        if state is not None:
            sampler.load_state_dict(state)
        sampler.set_epoch(EPOCH)
        loader = DataLoader(
            dataset,
            BATCH,
            sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        mine: Taken = []
        for _, batch in zip(range(CLIPS if steps is None else steps), loader, strict=False):
            frames = [hashlib.sha256(video.numpy().tobytes()).hexdigest() for video in batch["video"]]
            mine += zip(batch["clip_id"], batch["flip"].tolist(), frames, strict=True)
        by_rank.append(mine)
    return [one for step in zip_longest(*by_rank) for one in step], sampler.state_dict(taken=len(by_rank[0]))


@pytest.fixture(scope="module")
def whole(dataset: ClipDataset) -> Taken:
    samples, _ = taken(dataset, 1, 0)
    assert len({clip for clip, _, _ in samples}) == CLIPS
    assert len({flip for _, flip, _ in samples}) == 2
    return samples


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_clips_crops_and_flips_are_the_same(dataset: ClipDataset, whole: Taken, ranks: int, workers: int) -> None:
    assert taken(dataset, ranks, workers)[0] == whole


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("before", "after", "workers", "steps"), [(1, 2, 1, 3), (2, 4, 0, 1), (4, 1, 3, 1), (2, 2, 1, 2)]
)
def test_an_epoch_goes_on_at_another_number_of_ranks_with_the_same_samples(
    dataset: ClipDataset, whole: Taken, before: int, after: int, workers: int, steps: int
) -> None:
    begun, state = taken(dataset, before, workers, steps=steps)
    assert len(begun) == before * steps * BATCH
    assert begun + taken(dataset, after, workers, state)[0] == whole
