"""Which pieces of a clip a network is shown at test time, of which the logits are averaged.

`whole` is the paper's protocol ("Quo Vadis", section 3.4): every frame at once, for networks that are convolutional in
time. `sliding` shows windows as long as those of training, half a window apart. `10x3` shows ten windows evenly over
the clip, each in three square crops along the longer side (Wang et al., "Non-local Neural Networks", section 4.1).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.options import ClipOptions, Stream
from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.loading.whole_clips import LEAST_FRAMES, WholeClips

ViewName = Literal["whole", "sliding", "10x3"]
WINDOWS, CROPS = 10, 3


class ViewOptions(ClipOptions, total=False):
    """Keyword arguments of `Views`."""

    views: ViewName
    window: int
    mirrored: bool


class Views(WholeClips):
    """`WholeClips`, a sample for each view of each clip; samples of one clip follow each other and share its id.

    `views` is `whole` (default), `sliding` or `10x3`; `window` the frames of a view that is not the whole clip (default
    64). With `mirrored` every view comes once more, flipped. Raises UserError as `ClipDataset` does.
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
        self.window, self.mirrored = options.pop("window", 64), options.pop("mirrored", False)
        super().__init__(uri, split, stream, crop, most, **cast(ClipOptions, options))
        frames = self.index["frames"].to_pylist()
        shown = (self.views, self.window, self.mirrored)
        rows = [(row, *view) for row, count in enumerate(frames) for view in views_of(min(count, self.most), *shown)]
        self._views = np.array(rows, np.int64).reshape(-1, 4)
        """(row of the index, first frame, number of the crop, whether mirrored) of each sample."""

    def __len__(self) -> int:
        return len(self._views)

    def lengths(self) -> NDArray[np.int64]:
        whole = super().lengths()[self._views[:, 0]]
        return whole if self.views == "whole" else np.full_like(whole, max(self.window, LEAST_FRAMES))

    def snippet_of(self, index: int) -> tuple[int, Snippet]:
        row, start, crop, flip = self._views[int(index)].tolist()
        _, whole = super().snippet_of(row)
        if self.views == "whole":
            return row, replace(whole, flip=bool(flip))
        place = self.place_of(row)
        frames = (start + np.arange(max(self.window, LEAST_FRAMES))) % min(place.frames, self.most)
        top, left = crop_corner(place.height, place.width, whole.height, crop)
        return row, replace(whole, frames=frames, top=top, left=left, flip=bool(flip))


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
