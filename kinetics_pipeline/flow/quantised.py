"""Flow in 8 bits, as shards hold it: in numpy, and by PyTorch on the device that computed it, with the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.flow.parameters import FLOW_BOUND

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 127 / FLOW_BOUND
"""Steps a pixel."""


def quantise_flow(flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels a frame, clamped to +-20, as `128 + rint(px * 127 / 20)`: 1 to 255, and no motion is exactly 128.

    Rounded, never floored: flooring doubles the error. Raises ValueError for a flow that is not finite.
    """
    if not np.isfinite(flow).all():
        raise ValueError("the flow holds values that are not finite")
    clamped = np.clip(np.ascontiguousarray(flow), -FLOW_BOUND, FLOW_BOUND)
    steps: NDArray[np.uint8] = (128 + np.rint(clamped * STEPS)).astype(np.uint8)
    return steps


def quantise_on_device(flow: Tensor) -> Tensor:
    """The same of a float32 tensor, where it is: multiplication and rounding are IEEE's, one operation each."""
    import torch

    if not torch.isfinite(flow).all():
        raise ValueError("the flow holds values that are not finite")
    return flow.clamp(-FLOW_BOUND, FLOW_BOUND).mul_(STEPS).round_().add_(128).to(torch.uint8)
