"""Which of the demo's motions frames show, measured by Farnebaeck's flow, which the pipeline does not use."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray


def motion_of(frames: Sequence[NDArray[np.uint8]]) -> str:
    """The class of motion of uint8 RGB [H, W, 3] frames in a row."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    flows = [cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0) for a, b in pairwise(grey)]
    u, v = np.moveaxis(np.mean(flows, axis=0), 2, 0)
    moving = np.hypot(u, v) > 0.2
    y, x = (axis - axis[moving].mean() for axis in np.mgrid[0 : u.shape[0], 0 : u.shape[1]].astype(float))
    measures = {
        "moving right": u[moving].mean(),
        "moving down": v[moving].mean(),
        "growing": (x * u + y * v)[moving].mean() / np.hypot(x, y)[moving].mean(),
        "turning right": (x * v - y * u)[moving].mean() / np.hypot(x, y)[moving].mean(),
    }
    opposites = {"moving left": "moving right", "moving up": "moving down", "shrinking": "growing"}
    opposites["turning left"] = "turning right"
    measures |= {name: -measures[opposite] for name, opposite in opposites.items()}
    return max(measures, key=lambda name: measures[name])
