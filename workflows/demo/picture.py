"""A picture of what the demo's classes are: frames of some clips beside their flow in colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.workflows.demo.videos import CLIP_SECONDS, Rendered, drawing
from kinetics_pipeline.workflows.pictures.colours import Picture, flow_colours
from kinetics_pipeline.workflows.pictures.sheets import flow_legend, stacked, strip, written

SHOWN = ("moving left", "moving up", "growing", "turning right")
FRAMES = 3
SIZE = (340, 256)
"""Width and height at which flow is computed: a short side of 256, as in a dataset with the default recipe."""
HEIGHT = 128
"""Height of a frame in the picture."""
LABEL_WIDTH, GAP = 120, 8
FPS = 75
"""Frames a second between which flow is computed: at 256 the demo's scenes are too fast for TV-L1 at 25."""
FASTEST = 5.0
"""Pixels a frame at which a colour has its full strength."""


def demo_picture(clips: Sequence[Rendered], classes: Sequence[str] = SHOWN) -> Picture:
    """A row for each class: frames of its first clip for validation, drawn at `SIZE`, and their TV-L1 flow."""
    first = {clip.label: clip for clip in reversed(clips) if clip.split == "val"}
    rows = [_row(first[label]) for label in classes if label in first]
    width = max((row.shape[1] for row in rows), default=480)
    return stacked([*rows, flow_legend(width)])


def _row(clip: Rendered) -> Picture:
    draw = drawing(clip, SIZE)
    times = [(k + 0.5) * CLIP_SECONDS / FRAMES for k in range(FRAMES)]
    frames = [draw(seconds) for seconds in times]
    pairs = [np.stack([frames[k], draw(times[k] + 1 / FPS)]) for k in (0, FRAMES - 1)]
    flow = np.concatenate([tvl1(pair) for pair in pairs])
    pictures = [strip(_scaled(part), len(part)) for part in (np.stack(frames), flow_colours(flow, FASTEST))]
    name = np.full((HEIGHT, LABEL_WIDTH, 3), 255, np.uint8)
    gap = name[:, :GAP].copy()
    text = written([clip.label], LABEL_WIDTH)
    name[: text.shape[0]] = text
    return np.concatenate([name, pictures[0], gap, pictures[1]], axis=1)


def _scaled(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = round(SIZE[0] * HEIGHT / SIZE[1]), HEIGHT
    return np.asarray([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames], np.uint8)
