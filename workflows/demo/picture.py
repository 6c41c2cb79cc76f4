"""A picture of what the shards hold: frames of some classes beside their flow in colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading import ClipDataset

SHOWN = ("moving left", "moving up", "growing", "turning right")
TIMES = (0.2, 0.5, 0.8)
"""Of a clip, at which frames are shown."""
SCALE, MARGIN = 2, 6
LABEL_WIDTH, HEADER = 132, 26
FULL_COLOUR = 1.5
"""Pixels a frame at which a colour is full."""

Image = NDArray[np.uint8]


def draw_picture(dataset: str, path: Path, classes: Sequence[str] = SHOWN) -> None:
    """Writes a PNG with a row for each class: three frames of its first validation clip, and their stored flow."""
    clips = ClipDataset(dataset, split="val", stream="both", frames=None, crop=None, train=False, raw=True)
    rows = []
    for label in classes:
        numbers = [i for i, number in enumerate(clips.index["class"].to_pylist()) if clips.classes[number] == label]
        if numbers:
            rows.append(_row(label, clips[numbers[0]]))
    width = max(row.shape[1] for row in rows)
    padded = [
        cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3) for row in rows
    ]
    header = np.full((HEADER, width, 3), 255, np.uint8)
    note = "frames, and their TV-L1 flow (colour: direction; strength: speed)"
    _write(header, note, LABEL_WIDTH)
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack([header, *padded]), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} could not be written")


def flow_colours(flow: NDArray[np.float32]) -> Image:
    """Flow [2, H, W] in px as RGB [H, W, 3]: the hue is the direction, the saturation the speed; white is still."""
    angle = np.arctan2(flow[1], flow[0]) / (2 * np.pi) % 1
    speed = np.minimum(np.hypot(flow[0], flow[1]) / FULL_COLOUR, 1)
    hsv = np.stack([angle * 360, speed, np.ones_like(speed)], axis=2).astype(np.float32)
    return np.asarray(np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255), np.uint8)


def _row(label: str, sample: dict[str, Any]) -> Image:
    video, flow = sample["video"].numpy(), sample["flow"].numpy()
    numbers = [round(time * (video.shape[1] - 1)) for time in TIMES]
    frames = [video[:, n].transpose(1, 2, 0) for n in numbers]
    colours = [flow_colours((flow[:, n].astype(np.float32) - 128) * 20 / 127) for n in numbers]
    height = frames[0].shape[0] * SCALE
    parts = [np.full((height, LABEL_WIDTH, 3), 255, np.uint8)]
    _write(parts[0], label, MARGIN)
    for image in (*frames, *colours):
        large = np.repeat(np.repeat(image, SCALE, axis=0), SCALE, axis=1)
        parts += [large, np.full((height, MARGIN, 3), 255, np.uint8)]
    return np.vstack([np.hstack(parts), np.full((MARGIN, sum(p.shape[1] for p in parts), 3), 255, np.uint8)])


def _write(image: Image, text: str, x: int) -> None:
    y = image.shape[0] // 2 + 5
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
