"""Whole clips for evaluation and prediction: every frame from the first on, centre crop, a loop of those too short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.loading.snippets import Snippet, central_snippet
from models.i3d import LEAST_FRAMES


class WholeClips(ClipDataset):
    """A `ClipDataset` of raw samples that take a clip from its start, at most `most` frames of it.

    A clip of fewer frames than a network can see is looped to that number.
    """

    def __init__(self, *arguments: Any, most: int, **options: Any) -> None:
        super().__init__(*arguments, frames=None, train=False, raw=True, **options)
        self.most = most

    def length(self, index: int) -> int:
        """Frames of a sample."""
        return max(min(self.index["frames"][index].as_py(), self.most), LEAST_FRAMES)

    def _sample(self, index: int) -> tuple[dict[str, Any], Snippet]:
        clip = self.index.slice(int(index), 1).to_pylist()[0]
        there = min(clip["frames"], self.most)
        frames = max(there, LEAST_FRAMES)
        return clip, central_snippet(there, clip["height"], clip["width"], frames, 1, self.crop)


class SameLength(Sampler[list[int]]):
    """Batches of clips of one length, of every `world_size`-th clip from `rank` on; within a length in their order."""

    def __init__(self, clips: WholeClips, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        lengths = np.array([clips.length(index) for index in range(len(clips))])
        mine = np.argsort(lengths, kind="stable")[rank::world_size]
        self._batches = list(_batches(mine.tolist(), lengths, batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _batches(order: Sequence[int], lengths: np.ndarray[Any, Any], batch_size: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) == batch_size or lengths[batch[0]] != lengths[index]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
