"""Samples the second image and its gradient where the flow points, by bicubic interpolation.

The kernel is OpenCV's (`INTER_CUBIC`, A = -0.75) at the exact position; outside the image everything is 0, as with
`remap`'s constant border, so that pixels that leave the frame lose their data term. Grey value and both gradients of a
pixel lie side by side (`layout.CHANNELS`), so four neighbours in a row are one vector, and a sample is four of those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kinetics_pipeline.flow.cpu.layout import (
    CHANNELS,
    INVERSE,
    IX,
    IY,
    PAD,
    RHO,
    U,
    V,
    pitch_of,
    rounded_up,
    row_start,
    samples_pitch,
)
from kinetics_pipeline.flow.cpu.simd import (
    LANES,
    count_up,
    every_fourth,
    floor,
    fold,
    inverse_above,
    least,
    load,
    most,
    spread,
    spread_at,
    store,
    to_integers,
)

A = -0.75
POLYNOMIALS = np.repeat(
    np.array([[0, A, -2 * A, A], [1, 0, -(A + 3), A + 2], [0, -A, 2 * A + 3, -(A + 2)], [0, 0, A, -A]]).T,
    CHANNELS,
    axis=1,
).astype(np.float32)
"""The weights of the taps at -1, 0, 1, 2 as cubic polynomials in the fraction: [power, tap * CHANNELS]."""
POLYNOMIALS = np.ascontiguousarray(POLYNOMIALS).reshape(-1)


@njit(forceinline=True)
def _weight(tap: int, t: Any) -> Any:
    """The weight of one tap for sixteen fractions."""
    polynomials = POLYNOMIALS
    at = tap * CHANNELS
    high = spread_at(polynomials, at + 2 * LANES) + t * spread_at(polynomials, at + 3 * LANES)
    return spread_at(polynomials, at) + t * (spread_at(polynomials, at + LANES) + t * high)


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def warp(
    state: Any, height: int, width: int, grey: Any, start: int, samples: Any, inside: Any, row: Any, offsets: Any
) -> None:
    """Fills IX, IY, RHO and INVERSE of `state` for its flow.

    grey: the first image, rows of `rounded_up(width)` floats from `start` on; samples: the second, from 0 on; row,
    offsets: float32 and int32 scratch, 9 and 1 times `rounded_up(width)`.
    """
    pitch, line, padded = pitch_of(width), samples_pitch(width), rounded_up(width)
    polynomials = POLYNOMIALS
    c0, c1 = load(polynomials, 0), load(polynomials, LANES)
    c2, c3 = load(polynomials, 2 * LANES), load(polynomials, 3 * LANES)
    lowest, right, bottom = (
        spread(np.float32(1 - PAD)),
        spread(np.float32(width + PAD - 3)),
        spread(np.float32(height + PAD - 3)),
    )
    pixel, across = spread(np.int32(CHANNELS)), spread(np.int32(line))
    corner = spread(np.int32((PAD - 1) * line + (PAD - 1) * CHANNELS))
    fractions, weights, sampled = 0, padded, 5 * padded
    for y in range(height):
        at = row_start(y, width)
        for x in range(0, padded, LANES):
            px = count_up(x) + load(state, at + U * pitch + x)
            py = spread(np.float32(y)) + load(state, at + V * pitch + x)
            left, top = floor(px), floor(py)
            store(row, fractions + x, px - left)
            for tap in range(4):
                store(row, weights + tap * padded + x, _weight(tap, py - top))
            columns = to_integers(least(most(left, lowest), right))
            rows = to_integers(least(most(top, lowest), bottom))
            store(offsets, x, rows * across + columns * pixel + corner)
        for x in range(width):
            t = spread_at(row, fractions + x)
            taps = np.intp(offsets[x])
            four = spread_at(row, weights + x) * load(samples, taps)
            four = four + spread_at(row, weights + padded + x) * load(samples, taps + line)
            four = four + spread_at(row, weights + 2 * padded + x) * load(samples, taps + 2 * line)
            four = four + spread_at(row, weights + 3 * padded + x) * load(samples, taps + 3 * line)
            store(row, sampled + x * CHANNELS, fold(four * (c0 + t * (c1 + t * (c2 + t * c3)))))
        for x in range(0, padded, LANES):
            first = sampled + x * CHANNELS
            a, b = load(row, first), load(row, first + LANES)
            c, d = load(row, first + 2 * LANES), load(row, first + 3 * LANES)
            valid = load(inside, x)
            ix, iy = every_fourth(a, b, c, d, 1) * valid, every_fourth(a, b, c, d, 2) * valid
            rho = every_fourth(a, b, c, d, 0) - load(grey, start + y * padded + x)
            rho = rho - ix * load(state, at + U * pitch + x) - iy * load(state, at + V * pitch + x)
            store(state, at + IX * pitch + x, ix)
            store(state, at + IY * pitch + x, iy)
            store(state, at + RHO * pitch + x, rho)
            # OpenCV leaves pixels alone whose squared gradient is at most FLT_EPSILON and whose residual is small; with
            # so weak a gradient the step is under 2e-5 px whatever the residual.
            store(state, at + INVERSE * pitch + x, inverse_above(ix * ix + iy * iy, spread(np.float32(1.1920929e-7))))
