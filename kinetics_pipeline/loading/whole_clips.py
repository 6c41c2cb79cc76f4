"""Whole clips for evaluation and prediction: all frames from the first on, centre crop, a loop of those too short."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from kinetics_pipeline.loading.clip_dataset import ClipDataset
from kinetics_pipeline.loading.options import ClipOptions, Stream
from kinetics_pipeline.loading.snippets import Snippet, central_snippet
from kinetics_pipeline.loading.windows import window_frames

LEAST_FRAMES = 16
"""More than any of the networks asks for."""


class WholeClips(ClipDataset):
    """A `ClipDataset` of raw samples that take a clip from its start, at most `most` frames of it.

    `most=None` is all frames, whatever the clip's length. A clip of fewer frames than a network can see (16) is looped
    to that number. With `stride` only every so many-th of these
    frames is taken. `options` are `ClipDataset`'s.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        split: str | None,
        stream: Stream,
        crop: int | None,
        most: int | None = None,
        **options: Unpack[ClipOptions],
    ) -> None:
        raw: ClipOptions = {**options, "raw": True}
        super().__init__(uri, split, stream, None, crop, train=False, **raw)
        self.most: int = most or int(self.index["frames"].to_numpy().max())

    def lengths(self) -> NDArray[np.int64]:
        """How many frames each sample has."""
        frames = np.asarray(self.index["frames"].to_numpy(), np.int64)
        counts: NDArray[np.int64] = np.maximum(-(-np.minimum(frames, self.most) // self.stride), LEAST_FRAMES)
        return counts

    def snippet_of(self, index: int) -> tuple[int, Snippet]:
        row = int(index)
        place = self.place_of(row)
        there = min(place.frames, self.most)
        whole = central_snippet(there, place.height, place.width, there, 1, self.crop)
        return row, replace(whole, frames=whole_video(there, self.stride))

    def in_pieces(self, index: int, length: int) -> Iterator[dict[str, torch.Tensor]]:
        """All frames of a clip from its first to its last, `length` at a time: uint8 [C, T, H, W] by stream, with
        frames as the dataset has them (`stride` and `most` do not matter)."""
        place = self.place_of(index)
        for first in range(0, place.frames, length):
            numbers = np.arange(first, min(first + length, place.frames))
            snippet = Snippet(numbers, 0, 0, place.height, place.width, False)
            stored = {stream: self._clip_frames.block(stream, snippet, 1).values[0] for stream in self._streams}
            self._read(index, index, snippet, stored)
            yield {str(stream): values for stream, values in stored.items()}


def whole_video(available: int, stride: int) -> NDArray[np.int64]:
    """Every `stride`-th of `available` frames, looped where they are fewer than a network can see."""
    return window_frames(0, max(-(-available // stride), LEAST_FRAMES), available, stride)


class SameLength(Sampler[list[int]]):
    """Batches of clips of one length; within a length in their order. A rank takes every `world_size`-th clip."""

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
