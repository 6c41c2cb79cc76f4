"""`tools filters`: the first layer's filters as a picture, as Figure 4 of "Quo Vadis" shows them.

Each of 64 filters stands at the same place of every 8 x 8 square; time goes from left to right. On top the flow
network (u red, v green), in the middle RGB, at the bottom the 2D network.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models.weights.checkpoints import read_weights
from kinetics_pipeline.models.weights.inflation import GOOGLENET_KEY, two_dimensional
from kinetics_pipeline.workflows.pictures.colours import Picture
from kinetics_pipeline.workflows.pictures.sheets import require_picture_file, stacked, write_picture, written
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.training.run_folder import RunFolder

SIDE, SCALE, GAP = 8, 4, 1
"""Filters a row of a square, pixels a weight, and weights between filters."""
BETWEEN = 12
"""Pixels between time slices."""
GREY = 128


def filters(picture: Path, rgb: Path | None, flow: Path | None, flat: Path | None) -> Picture:
    """Writes the picture, and returns it. Raises UserError for files without a first layer of that stream."""
    require_picture_file(picture)
    asked = {"flow": (flow, 2), "rgb": (rgb, 3), "flat": (flat, 3)}
    titles = {"flow": "flow I3D (u red, v green)", "rgb": "RGB I3D", "flat": "2D network"}
    rows: list[Picture] = []
    for name, (path, channels) in asked.items():
        if path is not None:
            row = sequence(_first_layer(path, name, channels))
            rows += [written([f"{titles[name]}: conv1"], row.shape[1]), row]
    if not rows:
        raise UserError("--rgb, --flow and --flat are all missing; allowed: one or more of them")
    drawn = stacked(rows)
    write_picture(picture, drawn)
    print(f"picture: {picture}")
    return drawn


def sequence(weights: NDArray[np.float32]) -> Picture:
    """[64, C, T, h, w] -> T squares of filters from left to right. Every filter by its own largest weight, the same
    at all times, so that what changes in time is seen; grey is zero."""
    filters_, channels, times, high, wide = weights.shape
    largest = np.abs(weights).reshape(filters_, -1).max(axis=1).clip(min=1e-12)
    shown = GREY + np.rint(weights / largest[:, None, None, None, None] * (255 - GREY))
    coloured = np.full((filters_, 3, times, high, wide), GREY, np.uint8)
    coloured[:, :channels] = shown.clip(0, 255)
    rows = -(-filters_ // SIDE)
    step_high, step_wide = high + GAP, wide + GAP
    squares: list[Picture] = []
    for time in range(times):
        square = np.full((rows * step_high - GAP, SIDE * step_wide - GAP, 3), 255, np.uint8)
        for number in range(filters_):
            top, left = number // SIDE * step_high, number % SIDE * step_wide
            square[top : top + high, left : left + wide] = coloured[number, :, time].transpose(1, 2, 0)
        size = (square.shape[1] * SCALE, square.shape[0] * SCALE)
        squares += [
            cv2.resize(square, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8),
            np.full((size[1], BETWEEN, 3), 255, np.uint8),
        ]
    return np.concatenate(squares[:-1], axis=1)


def _first_layer(path: Path, name: str, channels: int) -> NDArray[np.float32]:
    run = RunFolder(path)
    file = next((c for c in (run.best, run.last) if c.is_file()), path) if path.is_dir() else path
    with as_user_errors():
        weights = read_weights(file).tensors
    if name == "flat":
        flat = two_dimensional(weights) or {}
        found = flat.get(GOOGLENET_KEY, flat.get("Conv2d_1a_7x7.conv2d.weight"))
        found = None if found is None else found[:, :, None]
    else:
        found = weights.get("Conv3d_1a_7x7.conv3d.weight")
    if found is None or found.ndim != 5 or found.shape[1] != channels:
        kind = "a 2D Inception-V1 or GoogLeNet" if name == "flat" else f"an I3D of {channels} channels"
        raise UserError(f"--{name} is {path}, which has no first layer of {kind}")
    return np.asarray(found.float().numpy())
