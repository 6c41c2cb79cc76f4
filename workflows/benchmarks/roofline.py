"""What bounds an iteration of TV-L1 on this processor: memory, arithmetic, or roots and divisions.

A pixel and iteration reads ten floats and writes six, 64 bytes, and needs about 60 additions and multiplications, two
square roots and two divisions. Each bound is measured alone, by loops like the sweep's that do nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit

from kinetics_pipeline.flow.cpu.layout import FIELDS, pitch_of, rounded_up, row_start, state_size
from kinetics_pipeline.flow.cpu.simd import LANES, load, root, spread, store, total
from kinetics_pipeline.flow.cpu.sweep import sweep
from kinetics_pipeline.flow.parameters import TVL1, level_sizes

BYTES = 64
FLOPS = 60
REPEATS = 20


@njit(nogil=True)
def spin(count: int) -> float:
    """Arithmetic that touches no memory."""
    one, x = spread(np.float32(0.999)), spread(np.float32(1))
    a, b, c, d, e, f, g = x, x, x, x, x, x, x
    for _ in range(count):
        a, b, c, d = a * one + x, b * one + x, c * one + x, d * one + x
        e, f, g = e * one + x, f * one + x, g * one + x
    return total(a + b + c + d + e + f + g)


@njit(nogil=True)
def _sweeps(state: Any, height: int, width: int, inside: Any, count: int) -> float:
    error = 0.0
    for _ in range(count):
        error += sweep(state, height, width, inside, np.float32(0.045), np.float32(0.3), np.float32(0.25 / 0.3))
    return error


@njit(nogil=True)
def _traffic(state: Any, height: int, width: int, inside: Any, count: int) -> float:
    """A sweep's reads and writes, without its arithmetic."""
    pitch = pitch_of(width)
    for _ in range(count):
        for y in range(height):
            row = row_start(y, width)
            for x in range(row, row + rounded_up(width), LANES):
                constant = load(state, x + 6 * pitch) + load(state, x + 7 * pitch)
                constant = constant + load(state, x + 8 * pitch) + load(state, x + 9 * pitch)
                for field in range(6):
                    store(state, x + field * pitch, load(state, x + field * pitch) + constant)
    return 0.0


@njit(nogil=True)
def _roots(state: Any, height: int, width: int, inside: Any, count: int) -> float:
    """The two roots and divisions of every pixel, eight at a time, so that none waits for another."""
    one, start = spread(np.float32(1)), spread(np.float32(2))
    a, b, c, d = start, start, start, start
    e, f, g, h = start, start, start, start
    for _ in range(count * height * rounded_up(width) // LANES // 4):
        a, b, c, d = one / (one + root(a)), one / (one + root(b)), one / (one + root(c)), one / (one + root(d))
        e, f, g, h = one / (one + root(e)), one / (one + root(f)), one / (one + root(g)), one / (one + root(h))
    return total(a + b + c + d + e + f + g + h)


def report(size: tuple[int, int]) -> Iterator[str]:
    """Lines to print."""
    spin(10)
    began = time.thread_time()
    spin(3_000_000)
    flops = 3_000_000 * 7 * 2 * LANES / (time.thread_time() - began)
    yield f"roofline: {flops / 1e9:.0f} GFLOP/s of fused multiply-adds on one thread"
    for height, width in level_sizes(*size, TVL1()):
        sweep_, traffic, roots = (_nanoseconds(kernel, height, width) for kernel in (_sweeps, _traffic, _roots))
        arithmetic = FLOPS / flops * 1e9
        bound = max(traffic, roots, arithmetic)
        yield (
            f"  {height}x{width}: {sweep_:.2f} ns a pixel and iteration; alone, memory takes {traffic:.2f} "
            f"({BYTES / traffic:.0f} GB/s), roots and divisions {roots:.2f}, multiply-adds {arithmetic:.2f}: "
            f"{bound / sweep_:.0%} of the roofline"
        )


def _nanoseconds(kernel: Callable[..., float], height: int, width: int) -> float:
    """A pixel and iteration, the median of five runs, by the thread's processor time."""
    inside = np.zeros(rounded_up(width), np.float32)
    inside[:width] = 1
    times = []
    for _ in range(6):  # the first compiles
        state = np.zeros(state_size(height, width), np.float32)
        state[:] = np.random.default_rng(0).normal(0, 0.1, state.size)
        state[: FIELDS * pitch_of(width)] = 0
        began = time.thread_time()
        kernel(state, height, width, inside, REPEATS)
        times.append(time.thread_time() - began)
    return float(np.median(times[1:])) / (REPEATS * height * width) * 1e9
