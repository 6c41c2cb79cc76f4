"""How the kernels cut an image into programs, by the GPU's compute capability: a table, never a timed trial.

No form changes a result: sums are integers (`kernels`), and a pixel's own arithmetic is the same in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tiling:
    """The pixels of a program, and the warps that share them. Two pixels a thread keep all of it in registers."""

    height: int = 8
    width: int = 32
    warps: int = 4

    def arguments(self) -> dict[str, Any]:
        # Multiply-adds are fused whatever Triton's default: a result depends on nothing but its input.
        return {"tile_h": self.height, "tile_w": self.width, "num_warps": self.warps, "enable_fp_fusion": True}


SMALL = Tiling()
"""7 to 9 programs share an SM (28 to 36 warps), and 256x340 takes 1.07 times its pixels. With 16x64 pixels and 16
warps it took 1.20 times, and two registers too many left one program an SM on compute capability 9.0 to 12.0."""

TILINGS = {(8, 0): SMALL, (8, 6): SMALL, (8, 9): SMALL, (9, 0): SMALL, (10, 0): SMALL, (12, 0): SMALL}
"""Rows by compute capability (major, minor). `python -m workflows.benchmarks.gpu_check` proposes its rows."""


def tiling_for(capability: tuple[int, int]) -> Tiling:
    """The row of the newest capability that is not newer than this GPU's; of the oldest, where all are newer."""
    known = [row for row in TILINGS if row <= capability]
    return TILINGS[max(known) if known else min(TILINGS)]
