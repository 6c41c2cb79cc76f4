"""A picture of what the shards hold: frames of some classes beside their flow in colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.shards import codec
from kinetics_pipeline.workflows.pictures import Picture, flow_colours, stacked, strip, write_picture, written

SHOWN = ("moving left", "moving up", "growing", "turning right")
FRAMES = 3
SCALE = 2
LABEL_WIDTH, GAP = 120, 8
EDGE = 210
"""Grey of the line around flow, which is white where nothing moves."""
FASTEST = 1.0
"""Pixels a frame at which a colour has its full strength."""


def draw_picture(dataset: str, path: Path, classes: Sequence[str] = SHOWN) -> None:
    """Writes a PNG with a row for each class: frames of one of its clips, and their stored flow."""
    clips = ClipDataset(dataset, stream="both", frames=None, crop=None, train=False, raw=True)
    chosen = _of_one_size(clips)
    rows = [_row(label, clips[chosen[label]]) for label in classes if label in chosen]
    note = written(["Frames, and their TV-L1 flow: the hue is the direction, the strength the speed"], 800)
    write_picture(path, stacked([note, *rows]))


def _of_one_size(clips: ClipDataset) -> dict[str, int]:
    """Class -> the number of one of its clips that have the most common frame size."""
    table = clips.index.select(["class", "height", "width"]).to_pylist()
    (size, _), *_ = Counter((row["height"], row["width"]) for row in table).most_common(1)
    return {
        clips.classes[row["class"]]: number for number, row in enumerate(table) if (row["height"], row["width"]) == size
    }


def _row(label: str, sample: dict[str, Any]) -> Picture:
    frames = sample["video"].numpy().transpose(1, 2, 3, 0)
    flow = flow_colours(codec.dequantise_flow(sample["flow"].numpy().transpose(1, 0, 2, 3)), FASTEST)
    middle = slice(len(frames) // 5, -len(frames) // 5)  # a path may begin and end outside the frame
    flow[:, [0, -1]] = flow[:, :, [0, -1]] = EDGE
    pictures = [strip(part[middle].repeat(SCALE, axis=1).repeat(SCALE, axis=2), FRAMES) for part in (frames, flow)]
    blank = np.full((pictures[0].shape[0], LABEL_WIDTH, 3), 255, np.uint8)
    name, gap = blank.copy(), blank[:, :GAP]
    text = written([label], LABEL_WIDTH)
    name[: text.shape[0]] = text
    return np.concatenate([name, pictures[0], gap, pictures[1]], axis=1)
