"""A dataset of moving textures, written by the real encoder and writer: its classes differ in their motion alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record, clip_id
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard
from tests.builders.videos import draw

CLASSES = ["down", "left", "right", "up"]
SPEED = 1.5
MOTION = {"left": (-SPEED, 0.0), "right": (SPEED, 0.0), "up": (0.0, -SPEED), "down": (0.0, SPEED)}
"""(u, v) in pixels a frame."""


def moving(label: str, number: int, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [T, H, W, 3]: texture `number`, which moves as `label` says."""
    frames = draw(width, height, count, motion=label, speed=SPEED, seed=number, number=False)  # type: ignore[arg-type]
    return np.stack(list(frames))


def true_flow(label: str, count: int, height: int, width: int) -> NDArray[np.float32]:
    flow = np.array(MOTION[label], np.float32)[None, :, None, None]
    return np.broadcast_to(flow, (count, 2, height, width)).copy()


def asked(split: str, count: int) -> list[Clip]:
    names = [f"{split}{number:03d}" for number in range(count)]
    return [Clip(clip_id(name, 0, 2), name, 0, 2, CLASSES[i % len(CLASSES)], split) for i, name in enumerate(names)]


def build_motion(
    folder: Path,
    *,
    recipe: Recipe | None = None,
    splits: Mapping[str, int] | None = None,
    count: int = 20,
    size: tuple[int, int] = (32, 40),
    classes: Sequence[str] = CLASSES,
    lost: Sequence[str] = (),
) -> Dataset:
    """`splits` clips of `count` frames in each split, three to a shard; those in `lost` were not to be had."""
    recipe = recipe or Recipe(short_side=32)
    dataset = Dataset.create(folder / "dataset", recipe, classes, {"motion.csv": "00"})
    for split, clips in (splits or {"train": 12, "val": 8}).items():
        wanted = asked(split, clips)
        for shard, first in enumerate(range(0, clips, 3)):
            items = [_item(clip, recipe, count, size, classes, lost) for clip in wanted[first : first + 3]]
            write_shard(
                dataset.store,
                name=f"{split}-{shard:05d}",
                plan="00000",
                clips=items,
                recipe=recipe,
                classes=classes,
                scratch=folder / "scratch",
                still_current=lambda: True,
            )
    return dataset


def _item(
    clip: Clip, recipe: Recipe, count: int, size: tuple[int, int], classes: Sequence[str], lost: Sequence[str]
) -> tuple[Record, bytes]:
    assert clip.label is not None
    known = (clip.clip_id, clip.video_id, clip.time_start, clip.time_end, clip.label)
    if clip.clip_id in lost:
        return Record(*known, "gone"), b""
    seed = sum(clip.clip_id.encode())
    flow = None if recipe.flow == "none" else true_flow(clip.label, count, *size)
    frames = moving(clip.label, seed, count, *size)
    return Record(*known, "ok", frames=count), encode_clip(
        clip.clip_id, classes.index(clip.label), frames, flow, recipe
    )
