"""The flow of one pair of frames, from the top of the pyramid to the full size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kinetics_pipeline.flow.cpu.layout import FIELDS, LEFT, U, V, pitch_of, rounded_up, row_start
from kinetics_pipeline.flow.cpu.median import median
from kinetics_pipeline.flow.cpu.pyramid import resize
from kinetics_pipeline.flow.cpu.sweep import sweep
from kinetics_pipeline.flow.cpu.warp import warp


@njit(inline="always")
def solve_level(
    state: Any,
    height: int,
    width: int,
    grey: Any,
    start: int,
    samples: Any,
    counts: Any,
    weights: Any,
    epsilon: float,
    inside: Any,
    scratch: Any,
    offsets: Any,
) -> int:
    """All warps of one level; the flow is in `state` before and after. Returns the number of iterations."""
    warps, inner, outer, side = counts
    step, theta, tau_over_theta = weights
    threshold = np.float32(epsilon * epsilon * (height * width))
    inside[:width] = 1
    inside[width : rounded_up(width)] = 0
    iterations = 0
    for _ in range(warps):
        warp(state, height, width, grey, start, samples, inside, scratch, offsets)
        error = np.inf
        for _ in range(outer):
            if side > 1:
                median(state, U, height, width, side, scratch)
                median(state, V, height, width, side, scratch)
            for _ in range(inner):
                error = sweep(state, height, width, inside, step, theta, tau_over_theta)
                iterations += 1
                if error <= threshold:
                    break
            if error <= threshold:
                break
    return iterations


@njit(inline="always")
def start_level(state: Any, sizes: Any, k: int, coarse: Any, up: Any) -> None:
    """Clears `state` for level `k`; its flow is that of the coarser level, enlarged, or zero at the top."""
    height, width = sizes[k]
    pitch, line = pitch_of(width), FIELDS * pitch_of(width)
    first = row_start(0, width)
    state[: (height + 1) * line + 2 * LEFT] = 0
    if k + 1 < len(sizes):
        h, w = sizes[k + 1]
        for field in range(2):
            resize(
                coarse,
                field * h * w,
                w,
                h,
                w,
                h / height,
                w / width,
                up,
                state,
                first + field * pitch,
                line,
                height,
                width,
            )


@njit(inline="always")
def write_flow(state: Any, height: int, width: int, target: Any) -> None:
    """Copies u and v out of `state` into float32 [2 * H * W]."""
    pitch = pitch_of(width)
    for field in range(2):
        for y in range(height):
            at = row_start(y, width) + field * pitch
            target[(field * height + y) * width : (field * height + y + 1) * width] = state[at : at + width]


@njit(inline="always")
def solve_pair(
    pyramid: Any,
    starts: Any,
    samples: Any,
    sample_starts: Any,
    sizes: Any,
    counts: Any,
    weights: Any,
    epsilon: float,
    scale_step: float,
    state: Any,
    coarse: Any,
    inside: Any,
    scratch: Any,
    offsets: Any,
    flow: Any,
) -> int:
    """Writes the flow, float32 [2 * H * W], from the image of `pyramid` to that of `samples`.

    Returns the number of iterations, over all levels.
    """
    iterations = 0
    up = np.float32(1 / scale_step)
    for k in range(len(sizes) - 1, -1, -1):
        height, width = sizes[k]
        start_level(state, sizes, k, coarse, up)
        iterations += solve_level(
            state,
            height,
            width,
            pyramid,
            starts[k],
            samples[sample_starts[k] :],
            counts,
            weights,
            epsilon,
            inside,
            scratch,
            offsets,
        )
        write_flow(state, height, width, coarse if k > 0 else flow)
    return iterations
