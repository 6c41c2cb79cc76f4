"""The layout of the kernels' memory: one flat float32 array for each thread, with the rows of all fields side by side.

A row holds the ten fields of TV-L1 one after the other: a sweep then reads one stream of memory instead of ten, and
rows of different fields never collide in the cache. Each field has `LEFT` floats before it, of which the last is the
zero left of the first pixel and the first is what lies right of the field before. Row 0 of an image is all zero: what
lies above the first row.
"""

from __future__ import annotations

from numba import njit

U, V = 0, 1
"""Flow, px."""
P11, P12, P21, P22 = 2, 3, 4, 5
"""Dual variables of u (P11, P12) and v (P21, P22)."""
IX, IY, RHO, INVERSE = 6, 7, 8, 9
"""What the warped second image gives: gradient, constant part of the residual, 1 / |gradient|^2 (0 where that is 0)."""
FIELDS = 10
LEFT = 16
"""Floats before each field."""
PAD = 4
"""Pixels of zeros around an image that is sampled: all that a bicubic tap outside the image can touch."""
CHANNELS = 4
"""Floats for each pixel of a sampled image: grey value, its gradient in x and in y, and one that is not used."""


@njit(inline="always")
def rounded_up(width: int) -> int:
    """The next multiple of a vector's lanes."""
    return (width + 15) // 16 * 16


@njit(inline="always")
def pitch_of(width: int) -> int:
    """Floats from a field to the next in a row."""
    return LEFT + rounded_up(width)


@njit(inline="always")
def state_size(height: int, width: int) -> int:
    return (height + 1) * FIELDS * pitch_of(width) + 2 * LEFT


@njit(inline="always")
def row_start(y: int, width: int) -> int:
    """The index of pixel (0, y) of the first field; y may be -1."""
    return (y + 1) * FIELDS * pitch_of(width) + LEFT


@njit(inline="always")
def samples_pitch(width: int) -> int:
    """Floats from a row of a sampled image to the next."""
    return (width + 2 * PAD) * CHANNELS


@njit(inline="always")
def samples_size(height: int, width: int) -> int:
    return (height + 2 * PAD) * samples_pitch(width)


@njit(inline="always")
def scratch_size(width: int) -> int:
    """Floats that `warp` (9 rows) and `median` (8, each with a vector on either side) need between them."""
    return 9 * rounded_up(width) + 8 * 2 * LEFT
