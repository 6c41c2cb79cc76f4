"""Clips and datasets for tests: drawn by formula, written by the real encoder and the real writer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.plan import Plan, PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record, clip_id
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard

CLASSES = ["left", "right", "up"]


def drawn_frames(number: int, count: int = 40, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """uint8 [T, H, W, 3]: smooth waves that tell clip, frame and place apart."""
    t, y, x, c = np.meshgrid(*map(np.arange, (count, height, width, 3)), indexing="ij")
    waves = np.sin(0.13 * x + 0.31 * number + 0.2 * t) + np.cos(0.11 * y + 0.17 * number * c - 0.07 * t)
    return np.rint(127.5 + 60 * waves).astype(np.uint8)


def drawn_flow(number: int, count: int = 40, height: int = 48, width: int = 64) -> NDArray[np.float32]:
    """float32 [T, 2, H, W] in pixels: smooth, within +-12."""
    t, d, y, x = np.meshgrid(*map(np.arange, (count, 2, height, width)), indexing="ij")
    return (6 * np.sin(0.05 * x + number + d) + 6 * np.cos(0.06 * y - 0.1 * t)).astype(np.float32)


def asked_clips(count: int, splits: Sequence[str] = ("train",)) -> list[Clip]:
    return [
        Clip(clip_id(f"v{i:03d}", i, i + 10), f"v{i:03d}", i, i + 10, CLASSES[i % 3], splits[i % len(splits)])
        for i in range(count)
    ]


def payload_of(clip: Clip, recipe: Recipe, count: int = 40, height: int = 48, width: int = 64) -> bytes:
    number = int(clip.video_id[1:])
    flow = None if recipe.flow == "none" else drawn_flow(number, count, height, width)
    label = -1 if clip.label is None else CLASSES.index(clip.label)
    return encode_clip(clip.clip_id, label, drawn_frames(number, count, height, width), flow, recipe)


def record_of(clip: Clip, outcome: str = "ok", frames: int = 40) -> Record:
    return Record(
        clip.clip_id,
        clip.video_id,
        clip.time_start,
        clip.time_end,
        clip.label,
        outcome,  # type: ignore[arg-type]
        source="folder",
        frames=frames if outcome == "ok" else 0,
    )


def planned(dataset: Dataset, clips: Sequence[Clip], clips_per_shard: int = 4, retry: Sequence[str] = ()) -> Plan:
    """A plan of the clips, added to the dataset."""
    plan = make_plan(
        pd.DataFrame([clip.__dict__ for clip in clips]).drop(columns="path"),
        outcomes=dataset.settled((clip.clip_id, clip.video_id) for clip in clips),
        settings=PlanSettings(clips_per_shard=clips_per_shard, retry=retry),
        held_locally=lambda some: {clip.clip_id for clip in some},
        next_shard=dataset.next_shard_numbers(),
    )
    dataset.add_plan(plan)
    return plan


def commit(
    dataset: Dataset,
    name: str,
    clips: Sequence[Clip],
    *,
    plan: int = 0,
    outcomes: dict[str, str] | None = None,
    frames: dict[str, int] | None = None,
    height: int = 48,
    width: int = 64,
) -> dict:
    """Commits a shard; `outcomes` and `frames` by clip_id where they are not `ok` and 40."""
    items = []
    for clip in clips:
        outcome, count = (outcomes or {}).get(clip.clip_id, "ok"), (frames or {}).get(clip.clip_id, 40)
        rows = payload_of(clip, dataset.recipe, count, height, width) if outcome == "ok" else b""
        items.append((record_of(clip, outcome, count), rows))
    return write_shard(
        dataset.store,
        name=name,
        plan=plan_name(plan),
        clips=items,
        recipe=dataset.recipe,
        classes=dataset.classes,
        scratch=Path(tempfile.mkdtemp()) if "://" in dataset.store.uri else Path(dataset.store.uri + ".scratch"),
        still_current=lambda: True,
    )


def built(
    folder: Path,
    count: int = 12,
    splits: Sequence[str] = ("train",),
    recipe: Recipe | None = None,
    clips_per_shard: int = 4,
    outcomes: dict[str, str] | None = None,
    frames: dict[str, int] | None = None,
) -> Dataset:
    """A dataset whose one plan is committed."""
    dataset = Dataset.create(folder, recipe or Recipe(short_side=48), CLASSES, {"a.csv": "00"})
    plan = planned(dataset, asked_clips(count, splits), clips_per_shard)
    for shard in plan.shards():
        commit(dataset, shard.name, shard.clips, outcomes=outcomes, frames=frames)
    return dataset
