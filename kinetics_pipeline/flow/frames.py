"""What flow accepts: the frames of one clip, checked and made grey."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted

SMALLEST_SIDE = 3
"""Pixels: centred differences need a neighbour on either side (OpenCV reads outside its image below this)."""


def grey_frames(frames: object) -> NDArray[np.uint8]:
    """uint8 [T, H, W], C-contiguous, from uint8 [T, H, W] (returned as they are) or RGB [T, H, W, 3].

    Grey is OpenCV's `COLOR_RGB2GRAY`, the one of I3D's preprocessing. Raises UserError that names the wrong type,
    dtype, shape or size.
    """
    if not isinstance(frames, np.ndarray):
        raise UserError(f"flow: frames are a {type(frames).__name__}; allowed: a numpy array, uint8")
    if frames.dtype != np.uint8:
        raise UserError(f"flow: frames are {frames.dtype}; allowed: uint8, 0 to 255")
    if frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] != 3):
        raise UserError(f"flow: frames have the shape {frames.shape}; allowed: [T, H, W] grey or [T, H, W, 3] RGB")
    count, height, width = frames.shape[:3]
    if count < 2:
        raise UserError(f"flow: {counted(count, 'frame')}; allowed: 2 or more, flow is between two")
    if min(height, width) < SMALLEST_SIDE:
        raise UserError(f"flow: frames of {width}x{height} px; allowed: {SMALLEST_SIDE}x{SMALLEST_SIDE} px or more")
    if frames.ndim == 3:
        return np.ascontiguousarray(frames)

    import cv2  # here, not above: grey frames need no OpenCV

    grey = np.empty((count, height, width), np.uint8)
    for frame, out in zip(frames, grey, strict=True):
        cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY, dst=out)
    return grey


def new_frames(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the frames, uint8 [T, H, W], are not the frame before: bool [T], of which the first is True."""
    repeats = [np.array_equal(before, after) for before, after in itertools.pairwise(grey)]
    return np.array([True, *(not repeat for repeat in repeats)])
