"""How videos are cut into windows of frames: for features, for evaluation and for prediction, in this one place.

In: how many frames there are. Out: frame numbers and times, plain numbers. Nothing here reads a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Beyond = Literal["loop", "repeat", "zero"]
"""What stands for frames before the first and after the last: the window's own frames again (a short clip is looped,
Carreira & Zisserman 2017, section 3.4), the first or last frame, or nothing."""
Position = Literal["start", "centre"]
Ends = Literal["drop", "repeat", "zero"]
NOTHING = -1
"""The number of a frame that is not there, and counts as zeros."""


def window_frames(
    first: int, count: int, available: int, stride: int = 1, beyond: Beyond = "loop"
) -> NDArray[np.int64]:
    """Numbers [count] of a window's frames: every `stride`-th from `first` on, of a video of `available` frames.

    With "loop", `first` lies within the video, and every round shows the same frames.
    """
    if beyond == "loop":
        inside = np.arange(first, available, stride)
        return inside[np.arange(count) % len(inside)]
    numbers = first + stride * np.arange(count)
    if beyond == "repeat":
        return np.clip(numbers, 0, available - 1)
    return np.where((numbers >= 0) & (numbers < available), numbers, NOTHING)


@dataclass(frozen=True)
class Windows:
    """Windows of `window` frames, one every `step` frames; each makes a row.

    `position`: "start" begins row k's window at frame k * step; "centre" puts its middle there, so that of 21 frames
    ten come before. `ends` says what becomes of windows that reach over the video's first or last frame: "drop" leaves
    them out; "repeat" and "zero" keep those whose k * step is a frame of the video, and fill them with the nearest
    frame, or with zeros. `extra`: so many frames must follow a window that is not dropped.
    """

    window: int
    step: int
    position: Position = "start"
    ends: Ends = "drop"
    extra: int = 0

    @property
    def _before(self) -> int:
        return self.window // 2 if self.position == "centre" else 0

    @property
    def _skipped(self) -> int:
        """How many windows are dropped because they begin before the video."""
        return -(-self._before // self.step) if self.ends == "drop" else 0

    def first(self, row: int) -> int:
        """The number of the first frame of a row's window; below zero where it begins before the video."""
        return (row + self._skipped) * self.step - self._before

    def needs(self, row: int) -> int:
        """How many frames the video must have for the row to be whole."""
        return self.first(row) + self.window + self.extra

    def rows(self, available: int) -> int:
        """How many rows a video of `available` frames has."""
        if self.ends == "drop":
            return max(0, (available - self.window - self.extra + self._before) // self.step + 1 - self._skipped)
        return -(-available // self.step)

    def frames(self, row: int, available: int) -> NDArray[np.int64]:
        """Numbers [window] of a row's frames, `NOTHING` for zeros. While more frames are to come, a row that they
        already make whole has the same numbers."""
        return window_frames(self.first(row), self.window, available, 1, "zero" if self.ends == "zero" else "repeat")

    def times(self, rows: int, fps: float) -> NDArray[np.float64]:
        """Seconds [rows, 2] at which each row's window begins and ends; its middle is the mean of both. A window that
        reaches over the video's first or last frame does so here, too."""
        firsts = np.array([self.first(row) for row in range(rows)], np.float64)
        return np.stack([firsts, firsts + self.window], axis=1) / fps


@dataclass(frozen=True)
class Steps:
    """The time steps of a network that is convolutional in time and sees the whole video: a row a step.

    Row i is made of step i and the next one, `stride` frames each, as I3D's last pool has it: T' = ceil(T / 8) - 1. So
    that memory does not grow, the video is cut into pieces with as much around them as a step can see. A piece has as
    many frames as the whole video modulo `stride`: the network pads odd and even lengths differently.
    """

    stride: int = 8
    before: int = 48
    after: int = 56
    """Frames around a piece that change its rows: a step of I3D sees 47 frames before its first and 54 after."""
    piece: int = 192

    def rows(self, available: int) -> int:
        """How many rows a video of `available` frames has."""
        return max(0, -(-available // self.stride) - 1)

    def pieces(self, remainder: int) -> Iterator[tuple[int, int, int, int]]:
        """(first frame, end, first row, rows) of each piece of a video that does not end, and whose length would be
        `remainder` modulo `stride`. The piece that the video ends in goes up to its end, and has all rows from its
        first one on."""
        row = 0
        while True:
            first = max(0, row * self.stride - self.before)
            count = self.piece // self.stride
            end = (row + count) * self.stride + self.after
            yield first, end + remainder, row, count
            row += count

    def times(self, rows: int, fps: float) -> NDArray[np.float64]:
        """Seconds [rows, 2] at which the two steps of each row begin and end."""
        firsts = np.arange(rows, dtype=np.float64) * self.stride
        return np.stack([firsts, firsts + 2 * self.stride], axis=1) / fps


def crop_corner(height: int, width: int, crop: int, place: int, crops: int = 3) -> tuple[int, int]:
    """Top and left of crop number `place`.

    Of 3 crops it is the first, middle or last along the longer side, in the middle of the other; of 10 a corner (upper
    left, upper right, lower left, lower right) or the centre; of 1 the centre.
    """
    high, wide = height - crop, width - crop
    if crops == 1 or (crops == 10 and place == 4):
        return high // 2, wide // 2
    if crops == 10:
        return high * (place // 2), wide * (place % 2)
    along = (0, max(high, wide) // 2, max(high, wide))[place]
    return (high // 2, along) if width >= height else (along, wide // 2)


def crop_places(crops: int, *, mirrored: bool = False) -> list[tuple[int, bool]]:
    """(number of the crop, whether mirrored) of each view: ten crops are five, each mirrored too (Simonyan and
    Zisserman, "Two-Stream Convolutional Networks", section 5)."""
    places = range(crops // 2 if crops == 10 else crops)
    return [(place, flip) for place in places for flip in ((False, True) if mirrored or crops == 10 else (False,))]
