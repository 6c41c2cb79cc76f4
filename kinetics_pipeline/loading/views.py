"""Which pieces of a clip a network is shown at test time, of which the logits are averaged.

`whole` is the paper's protocol ("Quo Vadis", section 3.4): every frame at once, for networks that are convolutional in
time. `sliding` shows windows as long as those of training, half a window apart. `10x3` shows ten windows evenly over
the clip, each in three square crops along the longer side (Wang et al., "Non-local Neural Networks", section 4.1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.clip_dataset import Stream
from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.loading.whole_clips import LEAST_FRAMES, WholeClips

ViewName = Literal["whole", "sliding", "10x3"]
WINDOWS, CROPS = 10, 3


class Views(WholeClips):
    """`WholeClips`, a sample for each view of each clip; samples of one clip follow each other and share its id."""

    def __init__(
        self,
        uri: str,
        split: str | None,
        stream: Stream,
        crop: int,
        most: int,
        *,
        views: ViewName = "whole",
        window: int = 64,
        mirrored: bool = False,
        classes: Collection[str] | None = None,
        clips: Collection[str] | None = None,
    ) -> None:
        """`window`: frames of a view, unless it is the whole clip. `mirrored`: every view once more, flipped."""
        super().__init__(uri, split, stream, crop, most, classes=classes, clips=clips)
        self.views, self.window, self.mirrored = views, window, mirrored
        self._places: tuple[object, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._where())

    def lengths(self) -> NDArray[np.int64]:
        whole = super().lengths()[self._where()[:, 0]]
        return whole if self.views == "whole" else np.full_like(whole, max(self.window, LEAST_FRAMES))

    def _where(self) -> NDArray[np.int64]:
        """(row of the index, first frame, number of the crop, whether mirrored) of each sample."""
        if self._places is None or self._places[0] is not self.index:  # clips are taken out of it after it was made
            frames = self.index["frames"].to_pylist()
            options = (self.views, self.window, self.mirrored)
            rows = [(row, *view) for row, n in enumerate(frames) for view in views_of(min(n, self.most), *options)]
            self._places = (self.index, np.array(rows, np.int64).reshape(-1, 4))
        return self._places[1]

    def _sample(self, index: int) -> tuple[dict[str, Any], Snippet]:
        row, start, place, flip = self._where()[int(index)].tolist()
        clip, whole = super()._sample(row)
        if self.views == "whole":
            return clip, replace(whole, flip=bool(flip))
        there = min(clip["frames"], self.most)
        frames = (start + np.arange(max(self.window, LEAST_FRAMES))) % there
        top, left = crop_corner(clip["height"], clip["width"], whole.height, place)
        return clip, replace(whole, frames=frames, top=top, left=left, flip=bool(flip))


def views_of(frames: int, views: ViewName, window: int, mirrored: bool) -> Iterator[tuple[int, int, bool]]:
    """(first frame, number of the crop, whether mirrored) of each view of a clip, in order."""
    for start in window_starts(views, frames, window):
        for place in range(CROPS) if views == "10x3" else (CROPS // 2,):
            for flip in (False, True) if mirrored else (False,):
                yield start, place, flip


def window_starts(views: ViewName, frames: int, window: int) -> list[int]:
    """First frames of the windows of a clip; 0 alone where the clip is one view, or is not longer than a window."""
    window = max(window, LEAST_FRAMES)
    last = frames - window
    if views == "10x3":
        return [round(k * max(last, 0) / (WINDOWS - 1)) for k in range(WINDOWS)]
    if views == "whole" or last <= 0:
        return [0]
    starts = list(range(0, last + 1, max(1, window // 2)))
    return starts if starts[-1] == last else [*starts, last]  # the clip's end is seen too


def crop_corner(height: int, width: int, crop: int, place: int) -> tuple[int, int]:
    """Top and left of crop `place` (first, middle, last) along the longer side, in the middle of the other."""
    high, wide = height - crop, width - crop
    along = (0, max(high, wide) // 2, max(high, wide))[place]
    return (high // 2, along) if width >= height else (along, wide // 2)
