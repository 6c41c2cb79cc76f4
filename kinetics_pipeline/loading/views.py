"""Which pieces of a clip a network is shown at test time, of which the logits are averaged.

`whole` is the paper's protocol ("Quo Vadis", section 3.4): every frame at once, for networks that are convolutional in
time. `sliding` shows windows as long as those of training, half a window apart. `10x3` shows ten windows evenly over
the clip, each in three square crops along the longer side (Wang et al., "Non-local Neural Networks", section 4.1).

Each may show one crop (the centre), three along the longer side, or ten: the corners and the centre, each mirrored too
(Simonyan and Zisserman, "Two-Stream Convolutional Networks", section 5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, Unpack, cast, get_args

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.arguments import whole_number
from kinetics_pipeline.loading.options import ClipOptions, Stream
from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.loading.whole_clips import LEAST_FRAMES, WholeClips
from kinetics_pipeline.loading.windows import Windows, crop_corner, crop_places, window_frames

ViewName = Literal["whole", "sliding", "10x3"]
Crops = Literal[1, 3, 10]
WINDOWS = 10


class ViewOptions(ClipOptions, total=False):
    """Keyword arguments of `Views`."""

    views: ViewName
    window: int
    crops: Crops | None
    mirrored: bool


class Views(WholeClips):
    """`WholeClips`, a sample for each view of each clip; samples of one clip follow each other and share its id.

    `views` is `whole` (default), `sliding` or `10x3`. `window` is how many frames a view has that is not the whole clip
    (default 64, at least 16), and `stride` takes every so many-th frame: 16 frames at stride 4 span 61. A clip that
    ends before its window does is looped, as in `ClipDataset`. `crops` is 1 (the centre), 3 (along the longer side) or
    10 (corners and centre, each also mirrored); the default is 3 for `10x3`, else 1. With `mirrored` every view comes
    once more, flipped. So ten windows of 16 frames at stride 4, each in ten crops, are

        Views(uri, "val", "rgb", 224, views="10x3", window=16, stride=4, crops=10)

    and `models.scoring.evaluation.evaluate` averages the logits of a clip's views. Raises UserError as `ClipDataset`
    does, and for other `views` and `crops`.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        split: str | None,
        stream: Stream,
        crop: int,
        most: int | None = None,
        **options: Unpack[ViewOptions],
    ) -> None:
        self.views: ViewName = options.pop("views", "whole")
        self.window: int = max(whole_number("window", options.pop("window", 64), 1), LEAST_FRAMES)
        self.mirrored = options.pop("mirrored", False)
        self.crops: Crops = options.pop("crops", None) or (3 if self.views == "10x3" else 1)
        _require("views", self.views, get_args(ViewName))
        _require("crops", self.crops, get_args(Crops))
        super().__init__(uri, split, stream, crop, most, **cast(ClipOptions, options))
        frames = self.index["frames"].to_pylist()
        span = (self.window - 1) * self.stride + 1
        shown = (self.views, span, self.crops, self.mirrored)
        rows = [(row, *view) for row, count in enumerate(frames) for view in views_of(min(count, self.most), *shown)]
        self._views = np.array(rows, np.int64).reshape(-1, 4)
        """(row of the index, first frame, number of the crop, whether mirrored) of each sample."""

    def __len__(self) -> int:
        return len(self._views)

    def lengths(self) -> NDArray[np.int64]:
        whole = super().lengths()[self._views[:, 0]]
        return whole if self.views == "whole" else np.full_like(whole, self.window)

    def snippet_of(self, index: int) -> tuple[int, Snippet]:
        row, start, crop, flip = self._views[int(index)].tolist()
        _, whole = super().snippet_of(row)
        place = self.place_of(row)
        top, left = crop_corner(place.height, place.width, whole.height, crop, self.crops)
        view = replace(whole, top=top, left=left, flip=bool(flip))
        if self.views == "whole":
            return row, view
        return row, replace(view, frames=window_frames(start, self.window, min(place.frames, self.most), self.stride))


def _require(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; allowed: {', '.join(map(str, allowed))}")


def views_of(
    frames: int, views: ViewName, window: int, crops: Crops, mirrored: bool
) -> Iterator[tuple[int, int, bool]]:
    """(first frame, number of the crop, whether mirrored) of each view of a clip, in order. `window` is the number of
    frames from its first to its last."""
    for start in window_starts(views, frames, window):
        for place, flip in crop_places(crops, mirrored=mirrored):
            yield start, place, flip


def window_starts(views: ViewName, frames: int, window: int) -> list[int]:
    """First frames of the windows of a clip; 0 alone where the clip is one view, or is not longer than a window."""
    window = max(window, LEAST_FRAMES)
    last = frames - window
    if views == "10x3":
        return [round(k * max(last, 0) / (WINDOWS - 1)) for k in range(WINDOWS)]
    if views == "whole" or last <= 0:
        return [0]
    half = Windows(window, max(1, window // 2))
    starts = [half.first(row) for row in range(half.rows(frames))]
    return starts if starts[-1] == last else [*starts, last]  # the clip's end is seen too
