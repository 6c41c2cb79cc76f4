"""OpenCV's own TV-L1, with which ours is compared: `cv2.optflow`, which only the contrib builds of OpenCV have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow.parameters import TVL1


def flow(grey: NDArray[np.uint8], parameters: TVL1) -> NDArray[np.float32]:
    """float32 [T-1, 2, H, W] in px, (u, v), of uint8 [T, H, W]. OpenCV shares the rows of a pair among its threads."""
    import cv2

    if not hasattr(cv2, "optflow"):
        raise UserError(
            "flow backend 'opencv' needs OpenCV's contrib build: pip install opencv-contrib-python-headless"
        )
    p = parameters
    # Made again for every call: the object keeps the number of levels that the smallest images so far allowed.
    tvl1 = cv2.optflow.DualTVL1OpticalFlow_create(  # type: ignore[attr-defined]
        tau=p.tau,
        lambda_=p.lambda_,
        theta=p.theta,
        nscales=p.nscales,
        warps=p.warps,
        epsilon=p.epsilon,
        innnerIterations=p.innerIterations,
        outerIterations=p.outerIterations,
        scaleStep=p.scaleStep,
        gamma=p.gamma,
        medianFiltering=p.medianFiltering,
        useInitialFlow=False,
    )
    flows = np.empty((len(grey) - 1, 2, *grey.shape[1:]), np.float32)
    for t, out in enumerate(flows):
        out[:] = tvl1.calc(grey[t], grey[t + 1], None).transpose(2, 0, 1)
    return flows
