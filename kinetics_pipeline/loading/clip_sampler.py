"""`ClipSampler`: one order of clips a (seed, epoch), whatever the number of ranks, with few shards open at a time.

Shards are shuffled, and then the clips within a window of shards. The order depends on the dataset, the seed and the
epoch alone. With R ranks each rank takes every R-th clip, so that one step of all ranks together takes the next clips
of that order. The state is the number of clips that all ranks took; any number of ranks can go on from there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import DistributedSampler

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.arguments import whole_number
from kinetics_pipeline.loading.clip_dataset import ClipDataset, EpochIndex

_FRAMES = 6
"""Calls that are looked back on for one who asks for samples."""


class ClipSampler(DistributedSampler[int]):
    """For `DataLoader(dataset, sampler=..., batch_size=...)`, with one of the ranks 0 to `world_size` - 1.

    Rank and world size are those of torch.distributed where it is initialised, else 0 and 1. A DistributedSampler:
    Lightning and Ray Train leave it as it is, and Lightning calls its `set_epoch`. Accelerate (and so Hugging Face's
    Trainer) shards any sampler once more: there give `rank=0, world_size=1`; else an iteration raises UserError.

    Yields sample numbers that carry their epoch, so that crops and flips are of (seed, epoch, clip) also in workers
    that outlive epochs. Every rank yields equally many: with `drop_last` the clips left over by the ranks go, else the
    first of the order come again. `shuffle=False` is the dataset's own order. A `window` is a number of shards.

    After `load_state_dict` the epoch goes on where the state was taken; `set_epoch` begins another. Without `set_epoch`
    a pass that comes after a whole one is the next epoch.

    Raises UserError for a dataset that is not a ClipDataset, and for an argument that cannot be.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        rank: int | None = None,
        world_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        window: int = 16,
    ) -> None:
        if not isinstance(dataset, ClipDataset):
            raise UserError(
                f"a ClipSampler is for a ClipDataset, not for a {type(dataset).__name__}; give it the ClipDataset "
                "inside, whose classes= and clips= choose among the clips"
            )
        size, mine = _place(rank, world_size)
        whole_number("seed", seed)
        super().__init__(dataset, size, mine, shuffle, int(seed), drop_last)
        self.window = whole_number("window", window, 1)
        self._clips = dataset
        self._shards = dataset.shard_numbers()
        self._names = [] if dataset.copies is None else dataset.shard_names()
        """Names of the shards; empty where shards are not copied ahead."""
        self._begin = 0
        """Clips of this epoch that all ranks together took before this iteration."""
        self._taken = 0
        """Clips that this rank took in this iteration."""
        self._passed = False
        """Whether the epoch was gone through to its end, and no other was begun by `set_epoch`."""

    def __len__(self) -> int:
        """How many this rank yields from where it stands at the beginning of an iteration."""
        left = len(self._shards) - (0 if self._passed else self._begin)
        return left // self.num_replicas if self.drop_last else -(-left // self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        if self.num_replicas > 1 and _sharded_by_accelerate():
            raise UserError(
                "Accelerate gives each process a part of what a sampler yields, and this one yields the part of rank "
                f"{self.rank} of {self.num_replicas}; give ClipSampler(..., rank=0, world_size=1)"
            )
        if self._passed:
            self.epoch, self._begin, self._passed = self.epoch + 1, 0, False
        self._taken = 0
        epoch, order = self.epoch, self.order()
        left = order[self._begin :]
        count = len(self)
        whole = np.resize(np.concatenate([left, order]), count * self.num_replicas)
        mine = whole[self.rank :: self.num_replicas]
        for index, shards in zip(mine.tolist(), self._announced(mine), strict=True):
            self._taken += 1
            yield EpochIndex(index, epoch, shards)
        self._passed = self.epoch == epoch

    def _announced(self, samples: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
        """Yields per sample the names of the shards of its window and the next, in the order they are first taken."""
        if not self._names:
            yield from repeat((), len(samples))
            return
        windows = np.split(samples, np.flatnonzero(np.diff(self._windows()[samples])) + 1)
        names = [tuple(dict.fromkeys(self._names[k] for k in self._shards[part].tolist())) for part in windows]
        for part, now, coming in zip(windows, names, [*names[1:], ()], strict=True):
            yield from repeat(tuple(dict.fromkeys(now + coming)), len(part))

    def order(self) -> NDArray[np.int64]:
        """Every sample number once, in the order of this epoch."""
        if not self.shuffle:
            return np.arange(len(self._shards))
        drawn = _mix(np.arange(len(self._shards), dtype=np.uint64) ^ _mix(self._key() + np.uint64(1)))
        return np.lexsort((drawn, self._windows()))

    def _windows(self) -> NDArray[np.int64]:
        """The number of each sample's window in this epoch."""
        if not self.shuffle:
            return self._shards // self.window
        numbers = np.arange(int(self._shards.max()) + 1, dtype=np.uint64)
        place = np.empty(len(numbers), np.int64)
        place[np.argsort(_mix(numbers ^ _mix(self._key())), kind="stable")] = np.arange(len(numbers))
        return place[self._shards] // self.window

    def _key(self) -> NDArray[np.uint64]:
        return _mix(np.array([self.seed % 2**64], np.uint64)) ^ _mix(np.array([self.epoch + 2**32], np.uint64))

    def set_epoch(self, epoch: int) -> None:
        """Begins an epoch; the one that `load_state_dict` is in the middle of goes on."""
        if epoch != self.epoch or self._passed:
            self.epoch, self._begin, self._taken, self._passed = whole_number("epoch", epoch), 0, 0, False

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """Where all ranks stand after each took `taken` clips in this iteration; by default what this one yielded.

        A DataLoader with workers asks for clips ahead of the batches it gives, so that there the default would lose
        the clips that wait. Then `taken` must be given, the clips that this rank was given in batches since the
        iteration began; torchdata's StatefulDataLoader keeps the right state with each batch by itself.

        Raises UserError where the default is not exact.
        """
        if taken is None:
            if self._clips.loaded_by_workers and not _asked_by_torchdata():
                raise UserError(
                    "the DataLoader's workers load ahead of the batches it gives, so the sampler does not know which "
                    "clips were trained on; give state_dict(taken=batches * batch_size), or take torchdata's "
                    "StatefulDataLoader and its state_dict()"
                )
            taken = self._taken
        most = len(self._shards) - self._begin
        consumed = self._begin + min(whole_number("taken", taken, 0) * self.num_replicas, most)
        return {"epoch": self.epoch, "consumed": consumed, "seed": self.seed, "clips": len(self._shards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state, taken with whatever number of ranks.

        Raises UserError when it is that of another seed or another number of clips, whose order is not this one, and
        for what is not state.
        """
        if not isinstance(state, dict) or not {"epoch", "consumed", "seed", "clips"} <= state.keys():
            raise UserError(f"the state to go on from is {state!r}; allowed: what `state_dict` gives")
        for name, mine in (("seed", self.seed), ("clips", len(self._shards))):
            if state[name] != mine:
                raise UserError(f"the state to go on from has {name} {state[name]}; this sampler has {mine}")
        epoch, consumed = (whole_number(f"{name} of the state", state[name], 0) for name in ("epoch", "consumed"))
        if consumed > len(self._shards):
            raise UserError(f"consumed of the state is {consumed}; allowed: up to {len(self._shards)}")
        self.epoch, self._begin, self._taken, self._passed = epoch, consumed, 0, False


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The world size and the rank. Raises UserError for a rank that there is not, and for one of the two alone."""
    if rank is None and world_size is None:
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_world_size(), distributed.get_rank()
        return 1, 0
    size = 1 if world_size is None else whole_number("world_size", world_size, 1)
    mine = 0 if rank is None else whole_number("rank", rank)
    if rank is None or world_size is None:
        raise UserError(f"rank is {rank} and world_size is {world_size}; allowed: both, or neither")
    if not 0 <= mine < size:
        raise UserError(f"rank is {rank} of {world_size}; allowed: 0 to {world_size - 1}")
    return size, mine


def _asked_by_torchdata() -> bool:
    """Whether torchdata calls `state_dict`: it does so for each batch of numbers it takes, and keeps the state with the
    batch until that is given out."""
    return str(sys._getframe(2).f_globals.get("__name__")).startswith("torchdata.")


def _sharded_by_accelerate() -> bool:
    """Whether Accelerate's `BatchSamplerShard`, which drops the batches of other processes, asks for the samples."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES):  # torch's BatchSampler is between
        of_accelerate = frame.f_globals.get("__name__") == "accelerate.data_loader"
        if of_accelerate and frame.f_code.co_qualname.startswith("BatchSamplerShard."):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): the same order with every version of numpy."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
