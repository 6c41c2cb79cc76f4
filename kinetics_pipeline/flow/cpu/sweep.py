"""One iteration of TV-L1 as one pass over the image, in place.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow" (DAGM 2007): the thresholding step, then
u = v + theta div p, then the update of the dual variables; order, constants and borders are those of OpenCV's
tvl1flow.cpp. The flow of row y needs the old p of rows y and y - 1; p of row y - 1 needs the new flow of rows y - 1 and
y. So one pass updates the flow of row y and p of row y - 1 together.

The threshold's three cases are one clamp: fi = -rho / |g|^2, kept within +-lambda theta, times g.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kinetics_pipeline.flow.cpu.layout import (
    FIELDS,
    INVERSE,
    IX,
    IY,
    P11,
    P12,
    P21,
    P22,
    RHO,
    U,
    V,
    pitch_of,
    rounded_up,
    row_start,
)
from kinetics_pipeline.flow.cpu.simd import LANES, least, load, most, prefetch, root, spread, store, total

NEAR = 200_000
"""Floats that stay in a core's own cache (0.8 MB) from one pass to the next. With more, a pass asks for the next row
early: a row is ten short stretches of memory, too short for the processor to see what comes."""


@njit(forceinline=True)
def _flow(state: Any, at: int, pitch: int, above12: Any, above22: Any, step: Any, theta: Any, inside: Any) -> Any:
    """Moves the flow of sixteen pixels; `above12`, `above22`: P12 and P22 of the row above. Returns squared change."""
    u, v = load(state, at + U * pitch), load(state, at + V * pitch)
    ix, iy = load(state, at + IX * pitch), load(state, at + IY * pitch)
    rho = load(state, at + RHO * pitch) + ix * u + iy * v
    fi = least(most(rho * load(state, at + INVERSE * pitch), spread(np.float32(0)) - step), step)
    div1 = load(state, at + P11 * pitch) - load(state, at + P11 * pitch - 1) + load(state, at + P12 * pitch) - above12
    div2 = load(state, at + P21 * pitch) - load(state, at + P21 * pitch - 1) + load(state, at + P22 * pitch) - above22
    du, dv = theta * div1 - fi * ix, theta * div2 - fi * iy
    store(state, at + U * pitch, u + du)
    store(state, at + V * pitch, v + dv)
    du, dv = du * inside, dv * inside
    return u + du, v + dv, du * du + dv * dv


@njit(forceinline=True)
def _dual(
    state: Any, at: int, flow: int, p1: int, p2: int, pitch: int, below: Any, old2: Any, tau_over_theta: Any
) -> None:
    """Updates the two dual variables of one component of the flow, of sixteen pixels; `below`: flow one row down."""
    u = load(state, at + flow * pitch)
    gx, gy = load(state, at + flow * pitch + 1) - u, below - u
    scale = spread(np.float32(1)) / (spread(np.float32(1)) + tau_over_theta * root(gx * gx + gy * gy))
    store(state, at + p1 * pitch, (load(state, at + p1 * pitch) + tau_over_theta * gx) * scale)
    store(state, at + p2 * pitch, (old2 + tau_over_theta * gy) * scale)


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _repeat_last(state: Any, row: int, width: int, pitch: int) -> None:
    """Makes the flow right of the last pixel the last pixel's, so that its forward difference is zero."""
    state[row + U * pitch + width] = state[row + U * pitch + width - 1]
    state[row + V * pitch + width] = state[row + V * pitch + width - 1]


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def sweep(state: Any, height: int, width: int, inside: Any, step: float, theta: float, tau_over_theta: float) -> float:
    """One iteration. step: lambda theta; tau_over_theta: tau / theta; inside: 1 for every pixel of a row, then 0.

    Returns the sum of the squared change of the flow, px^2, added row by row.
    """
    pitch, below = pitch_of(width), FIELDS * pitch_of(width)
    step_, theta_, tau_over_theta_ = spread(step), spread(theta), spread(tau_over_theta)
    zero = spread(np.float32(0))
    far = height * below > NEAR
    error = 0.0
    row = row_start(0, width)
    change = zero
    for x in range(0, rounded_up(width), LANES):
        _, _, moved = _flow(state, row + x, pitch, zero, zero, step_, theta_, load(inside, x))
        change = change + moved
    _repeat_last(state, row, width, pitch)
    error += total(change)
    for y in range(1, height):
        above = row_start(y - 1, width)
        change = zero
        for x in range(0, rounded_up(width), LANES):
            at = above + x
            if far:
                for field in range(FIELDS):
                    prefetch(state, at + 2 * below + field * pitch)
            p12, p22 = load(state, at + P12 * pitch), load(state, at + P22 * pitch)
            u, v, moved = _flow(state, at + below, pitch, p12, p22, step_, theta_, load(inside, x))
            change = change + moved
            _dual(state, at, U, P11, P12, pitch, u, p12, tau_over_theta_)
            _dual(state, at, V, P21, P22, pitch, v, p22, tau_over_theta_)
        _repeat_last(state, above + below, width, pitch)
        error += total(change)
    last = row_start(height - 1, width)
    for x in range(0, rounded_up(width), LANES):
        at = last + x
        _dual(
            state, at, U, P11, P12, pitch, load(state, at + U * pitch), load(state, at + P12 * pitch), tau_over_theta_
        )
        _dual(
            state, at, V, P21, P22, pitch, load(state, at + V * pitch), load(state, at + P22 * pitch), tau_over_theta_
        )
    return error
