"""One pair of frames on a node: whether a backend computes flow there. A list of resources does not show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import FlowBackend, tvl1

Compute = Callable[[NDArray[np.uint8], str], NDArray[np.float32]]
"""(uint8 [2, H, W], backend) -> float32 [1, 2, H, W], as `tvl1`."""
SIDE = 64
SHIFT = 1.0
"""Pixels by which the second frame is moved to the right."""
ALLOWED = 0.25
"""Pixels by which the median of the flow may be off: TV-L1 finds such a motion to within 0.05."""


@dataclass(frozen=True)
class Probed:
    """What came of it."""

    node: str
    """The node's id."""
    trouble: str = ""
    """Why there is no flow; empty where there is."""


def trouble_with(backend: FlowBackend, compute: Compute = tvl1) -> str:
    """Computes the flow between two frames, and compares it with the motion that is in them.

    Returns an empty text, or in a line what is wrong. Never raises: a driver, a device or a library can fail in any
    way, and all of them mean that this node cannot compute flow.
    """
    try:
        flow = compute(_pair(), backend)
    except UserError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 -- see above
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if flow.shape != (1, 2, SIDE, SIDE):
        return f"flow backend {backend!r} gave an array of {flow.shape}"
    inner = flow[0, :, 8:-8, 8:-8]
    right, down = float(np.median(inner[0])), float(np.median(inner[1]))
    if not (abs(right - SHIFT) <= ALLOWED and abs(down) <= ALLOWED):  # also where it is not a number
        return f"flow backend {backend!r} finds ({right:.2f}, {down:.2f}) px in a motion of ({SHIFT:.0f}, 0)"
    return ""


def _pair() -> NDArray[np.uint8]:
    """uint8 [2, SIDE, SIDE]: a smooth picture, and the same moved by `SHIFT`."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    frames = [
        128 + 50 * np.sin(2 * np.pi * (x - moved) / 23) + 50 * np.cos(2 * np.pi * (y + (x - moved) / 3) / 17)
        for moved in (0.0, SHIFT)
    ]
    pair: NDArray[np.uint8] = np.rint(np.stack(frames)).astype(np.uint8)
    return pair
