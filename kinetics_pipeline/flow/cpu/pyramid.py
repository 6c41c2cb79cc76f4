"""Image pyramids and bilinear resizing, as OpenCV's `resize` (`INTER_LINEAR`) does it on float images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kinetics_pipeline.flow.cpu.layout import CHANNELS, PAD, rounded_up, samples_pitch


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _source(i: int, scale: float, size: int) -> Any:
    """Left neighbour and fraction of the target pixel `i` in a line of `size` pixels; the ends repeat."""
    position = np.float32((i + 0.5) * scale - 0.5)
    first = np.floor(position)
    fraction = np.float32(position - first)
    if first < 0:
        return 0, np.float32(0)
    if first >= size - 1:
        return size - 1, np.float32(0)
    return int(first), fraction


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def resize(
    source: Any,
    start: int,
    line: int,
    height: int,
    width: int,
    scale_y: float,
    scale_x: float,
    factor: float,
    target: Any,
    to: int,
    to_line: int,
    to_height: int,
    to_width: int,
) -> None:
    """Resizes one image of a flat array into another: `line` floats from row to row, values times `factor`."""
    lefts = np.empty(to_width, np.uint32)
    fractions = np.empty(to_width, np.float32)
    between = np.empty(width + 1, np.float32)
    for x in range(to_width):
        left, fraction = _source(x, scale_x, width)
        lefts[x], fractions[x] = left, fraction
    for y in range(to_height):
        top, fraction = _source(y, scale_y, height)
        upper = start + top * line
        lower = start + min(top + 1, height - 1) * line
        for x in range(width):
            between[x] = (source[upper + x] * (np.float32(1) - fraction) + source[lower + x] * fraction) * factor
        between[width] = between[width - 1]
        for x in range(to_width):
            left = lefts[x]
            target[to + y * to_line + x] = (
                between[left] * (np.float32(1) - fractions[x]) + between[left + np.uint32(1)] * fractions[x]
            )


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def build_pyramid(frame: Any, sizes: Any, step: float, pyramid: Any, starts: Any) -> None:
    """All levels of uint8 [H, W], float 0 to 255, rows of `rounded_up(width)` floats; level k lies at starts[k]."""
    height, width = frame.shape
    for y in range(height):
        for x in range(width):
            pyramid[starts[0] + y * rounded_up(width) + x] = frame[y, x]
    for k in range(1, len(sizes)):
        h, w = sizes[k - 1]
        to_h, to_w = sizes[k]
        resize(
            pyramid,
            starts[k - 1],
            rounded_up(w),
            h,
            w,
            1 / step,
            1 / step,
            np.float32(1),
            pyramid,
            starts[k],
            rounded_up(to_w),
            to_h,
            to_w,
        )


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def build_samples(pyramid: Any, start: int, height: int, width: int, samples: Any, to: int) -> None:
    """A level as `warp` samples it: grey value, centred differences (the border repeated), zeros around.

    Only the image itself is written: the zeros are there from the beginning.
    """
    padded, line = rounded_up(width), samples_pitch(width)
    for y in range(height):
        row = start + y * padded
        above, below = start + max(y - 1, 0) * padded, start + min(y + 1, height - 1) * padded
        at = to + (y + PAD) * line + PAD * CHANNELS
        for x in range(width):
            left, right = row + max(x - 1, 0), row + min(x + 1, width - 1)
            samples[at + x * CHANNELS] = pyramid[row + x]
            samples[at + x * CHANNELS + 1] = np.float32(0.5) * (pyramid[right] - pyramid[left])
            samples[at + x * CHANNELS + 2] = np.float32(0.5) * (pyramid[below + x] - pyramid[above + x])
