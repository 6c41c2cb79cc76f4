"""The parameters of TV-L1, under OpenCV's names and with OpenCV's defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TVL1:
    """`cv2.optflow.DualTVL1OpticalFlow_create`'s arguments (OpenCV 5.0) and their defaults."""

    tau: float = 0.25
    """Time step of the dual update."""
    lambda_: float = 0.15
    """Weight of the data term; `lambda` in OpenCV."""
    theta: float = 0.3
    """Tightness of the coupling between flow and auxiliary field."""
    nscales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    """Stops when the mean squared change of the flow is at most epsilon^2."""
    innerIterations: int = 30
    """`innnerIterations` in `create`'s own signature."""
    outerIterations: int = 10
    scaleStep: float = 0.8
    gamma: float = 0.0
    medianFiltering: int = 5
    useInitialFlow: bool = False
