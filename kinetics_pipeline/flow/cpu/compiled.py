"""Consecutive pairs of frames, what one thread does, as machine code that is kept on disk between processes.

numba keeps the code under the source's `__pycache__`, else under the user's cache directory, or where
`NUMBA_CACHE_DIR` says; every file is written aside and renamed, so processes that start at once disturb each other only
by compiling the same thing. Where no directory can be written, each process compiles for itself (some seconds).

numba looks for changes in the file of the compiled function alone, but this one's code comes from all files of this
folder. Their hash is therefore a variable that the function closes over, which numba counts as part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

from kinetics_pipeline.flow.cpu.pair import solve_pair
from kinetics_pipeline.flow.cpu.pyramid import build_pyramid, build_samples


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _compiled() -> Callable[..., None]:
    sources = _sources()

    def solve_pairs(
        grey: Any,
        first: int,
        last: int,
        sizes: Any,
        starts: Any,
        sample_starts: Any,
        counts: Any,
        weights: Any,
        epsilon: float,
        scale_step: float,
        pyramids: Any,
        samples: Any,
        state: Any,
        coarse: Any,
        inside: Any,
        scratch: Any,
        offsets: Any,
        flows: Any,
        iterations: Any,
    ) -> None:
        """The pairs first, first + 1, ..., last - 1 of uint8 [T, H, W], into float32 [last - first, 2 * H * W]."""
        if sources == "":
            return
        build_pyramid(grey[first], sizes, scale_step, pyramids[0], starts)
        for t in range(first, last):
            here, there = pyramids[(t - first) % 2], pyramids[(t - first + 1) % 2]
            build_pyramid(grey[t + 1], sizes, scale_step, there, starts)
            for k in range(len(sizes)):
                build_samples(there, starts[k], sizes[k, 0], sizes[k, 1], samples, sample_starts[k])
            iterations[t - first] = solve_pair(
                here,
                starts,
                samples,
                sample_starts,
                sizes,
                counts,
                weights,
                epsilon,
                scale_step,
                state,
                coarse,
                inside,
                scratch,
                offsets,
                flows[t - first],
            )

    try:
        return njit(nogil=True, cache=True)(solve_pairs)
    except RuntimeError:  # "cannot cache function: no locator available": nothing here can be written
        return njit(nogil=True)(solve_pairs)


solve_pairs = _compiled()
