"""Whole clips for evaluation and prediction: every frame from the first on, centre crop, a loop of those too short."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.loading.clip_dataset import Stream
from kinetics_pipeline.loading.snippets import Snippet, central_snippet

LEAST_FRAMES = 16
"""More than any of the networks asks for."""


class WholeClips(ClipDataset):
    """A `ClipDataset` of raw samples that take a clip from its start, at most `most` frames of it.

    A clip of fewer frames than a network can see is looped to that number.
    """

    def __init__(
        self,
        uri: str,
        split: str | None,
        stream: Stream,
        crop: int | None,
        most: int,
        *,
        classes: Collection[str] | None = None,
        clips: Collection[str] | None = None,
    ) -> None:
        super().__init__(uri, split, stream, None, crop, train=False, raw=True, classes=classes, clips=clips)
        self.most = most

    def lengths(self) -> NDArray[np.int64]:
        """Frames of each sample."""
        return np.clip(self.index["frames"].to_numpy(), LEAST_FRAMES, max(self.most, LEAST_FRAMES)).astype(np.int64)

    def _sample(self, index: int) -> tuple[dict[str, Any], Snippet]:
        clip = self.index.slice(int(index), 1).to_pylist()[0]
        there = min(clip["frames"], self.most)
        frames = max(there, LEAST_FRAMES)
        return clip, central_snippet(there, clip["height"], clip["width"], frames, 1, self.crop)


class SameLength(Sampler[list[int]]):
    """Batches of clips of one length, of every `world_size`-th clip from `rank` on; within a length in their order."""

    def __init__(self, clips: WholeClips, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        lengths = clips.lengths()
        mine = np.argsort(lengths, kind="stable")[rank::world_size]
        self._batches = list(_batches(mine.tolist(), lengths, batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _batches(order: Sequence[int], lengths: NDArray[np.int64], batch_size: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) == batch_size or lengths[batch[0]] != lengths[index]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
