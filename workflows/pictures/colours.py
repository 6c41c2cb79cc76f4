"""Flow as colours, for pages and sheets: numpy alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""uint8 RGB [H, W, 3]."""

WHEEL = (15, 6, 4, 11, 13, 6)
"""Steps from red to yellow, green, cyan, blue, magenta and back: Baker et al., "A Database and Evaluation Methodology
for Optical Flow", IJCV 2011; their flow-code, colorcode.cpp."""


def flow_colours(flow: NDArray[np.floating], largest: float | None = None) -> NDArray[np.uint8]:
    """Flow [..., 2, H, W] in pixels, (u, v), as uint8 RGB [..., H, W, 3] on Middlebury's wheel.

    No motion is white, motion to the right red; colours are full at `largest` pixels and darker beyond. Default: the
    99th percentile of the lengths in `flow`, so that one wrong vector does not make the rest pale. Values that are
    not finite, or larger than 1e9 (unknown in the Middlebury files), are black.
    """
    u, v = (np.moveaxis(flow, -3, 0)[axis].astype(np.float64) for axis in (0, 1))
    known = np.isfinite(u) & np.isfinite(v) & (np.abs(u) < 1e9) & (np.abs(v) < 1e9)
    u, v = np.where(known, u, 0.0), np.where(known, v, 0.0)
    length = np.hypot(u, v)
    if largest is None:
        largest = float(np.percentile(length[known], 99)) if known.any() else 0.0
    length = length / max(largest, 1e-3)  # less than a thousandth of a pixel is not motion
    wheel = _wheel()
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = np.floor(place).astype(np.int64)
    share = (place - below)[..., None]
    colour = (1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]
    radius = length[..., None]
    shown = np.where(radius <= 1, 1 - radius * (1 - colour), colour * 0.75)
    return np.where(known[..., None], np.floor(255 * shown), 0).astype(np.uint8)


@cache
def _wheel() -> NDArray[np.float64]:
    """[55, 3], values in [0, 1]."""
    colours = []
    channel, rising = (0, 1, 2), True
    for steps in WHEEL:
        ramp = np.floor(255 * np.arange(steps) / steps) / 255
        part = np.zeros((steps, 3))
        full, moving = (channel[0], channel[1]) if rising else (channel[1], channel[0])
        part[:, full] = 1.0
        part[:, moving] = ramp if rising else 1 - ramp
        colours.append(part)
        if not rising:
            channel = (channel[1], channel[2], channel[0])
        rising = not rising
    return np.concatenate(colours)


def colour_wheel(side: int) -> Picture:
    """[side, side, 3]: the colour of each direction of motion, on white."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    wheel = flow_colours(np.stack([x, y]), 1.0)
    wheel[np.hypot(x, y) > 1] = 255
    return wheel


def even_frames(count: int, shown: int) -> list[int]:
    """Numbers of at most `shown` frames, evenly over `count`."""
    return [int(number) for number in np.unique(np.linspace(0, count - 1, min(count, shown)).round())]
