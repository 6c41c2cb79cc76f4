"""TV-L1 on a processor: numba kernels, one pair of frames a thread.

In: uint8 [T, H, W]. Out: float32 [T-1, 2, H, W]. Begin reading with `pair`, which solves one pair. `sweep`, `warp`,
`median` and `pyramid` are its parts, `simd` and `layout` what they are written with; `compiled` keeps the machine code.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.flow.cpu.compiled import solve_pairs
from kinetics_pipeline.flow.cpu.layout import rounded_up, samples_size, scratch_size, state_size
from kinetics_pipeline.flow.cpu.simd import LANES
from kinetics_pipeline.flow.parameters import TVL1, level_sizes
from kinetics_pipeline.flow.quantised import quantise_flow

Flow = NDArray[np.float32] | NDArray[np.uint8]

CHUNK = 8
"""Most pairs a thread takes at once: it prepares one frame more than it has pairs."""


def flow(grey: NDArray[np.uint8], parameters: TVL1, threads: int | None = None, *, quantised: bool = False) -> Flow:
    """float32 [T-1, 2, H, W] in px, (u, v), of uint8 [T, H, W]: the same bytes whatever the number of threads.

    threads: as many as `OMP_NUM_THREADS` says, which Ray sets to the CPUs a worker was given; else one a CPU.
    quantised: uint8 in place of float32 (`quantise_flow`), made chunk by chunk.
    """
    if not grey.flags.writeable:  # numba would compile the kernels again for read-only arrays
        grey = grey.copy()
    pairs, height, width = len(grey) - 1, grey.shape[1], grey.shape[2]
    flows = np.empty((pairs, 2 * height * width), np.uint8 if quantised else np.float32)
    threads = min(threads or default_threads(), pairs)
    chunk = min(CHUNK, -(-pairs // (4 * threads)))
    firsts = iter(range(0, pairs, chunk))

    def work(_: int) -> None:
        workspace = Workspace(height, width, parameters)
        part = np.empty((chunk, 2 * height * width), np.float32)
        for first in firsts:
            last = min(first + chunk, pairs)
            found = part[: last - first] if quantised else flows[first:last]
            workspace.solve(grey, first, last, found)
            if quantised:
                flows[first:last] = quantise_flow(found)

    if threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads, "flow") as pool:
            list(pool.map(work, range(threads)))
    return flows.reshape(pairs, 2, height, width)


class Workspace:
    """What one thread needs for frames of one size, about 12 MB at 256x340. Allocated once a clip."""

    def __init__(self, height: int, width: int, parameters: TVL1) -> None:
        p, single = parameters, np.float32
        levels = level_sizes(height, width, p)
        starts = np.cumsum([0] + [h * rounded_up(w) + LANES for h, w in levels])
        sample_starts = np.cumsum([0] + [samples_size(h, w) for h, w in levels])
        self.where = (np.array(levels, np.int64), starts[:-1].copy(), sample_starts[:-1].copy())
        self.parameters = (
            (p.warps, p.innerIterations, p.outerIterations, p.medianFiltering),
            (single(p.lambda_ * p.theta), single(p.theta), single(p.tau / p.theta)),
            float(p.epsilon),
            float(p.scaleStep),
        )
        self.buffers = (
            np.zeros((2, starts[-1]), single),  # grey pyramids of two frames
            np.zeros(sample_starts[-1] + LANES, single),  # the second frame as it is sampled
            np.zeros(state_size(height, width), single),
            np.zeros(2 * height * width, single),  # flow between two levels
            np.zeros(rounded_up(width), single),  # which lanes of a row are pixels
            np.zeros(scratch_size(width), single),
            np.zeros(rounded_up(width), np.int32),
        )

    def solve(self, grey: NDArray[np.uint8], first: int, last: int, flows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Writes the flow of pairs first to last - 1 to `flows`, float32 [last - first, 2 * H * W].

        Returns the iterations of each pair, over all levels.
        """
        iterations = np.zeros(last - first, np.int64)
        solve_pairs(grey, first, last, *self.where, *self.parameters, *self.buffers, flows, iterations)
        return iterations


def default_threads() -> int:
    """`OMP_NUM_THREADS` (a list counts by its first number, as in OpenMP), else the CPUs this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
