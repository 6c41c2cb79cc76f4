"""How long a plan will take: said before it starts, from what earlier clips took or one timed frame pair."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.plan import NETWORK, Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.runtime.progress import duration

OTHER_THAN_FLOW = 1.0e-8
"""Seconds a pixel and frame of decoding, resizing and JPEG: 0.22 s a clip of 250 frames at 256 x 340."""
SOON = 60.0
"""Seconds. Below, it is the start of processes that takes the time."""
USUAL_CLIP = 10.0
"""Seconds of a clip whose times are not given: Kinetics' length."""
SAMPLE = 32
"""Shards whose clips say how long a frame takes."""


@dataclass(frozen=True)
class Expectation:
    seconds: float
    why: str

    def __str__(self) -> str:
        if self.seconds < SOON:
            return "less than a minute, once the processes have started"
        return f"{duration(self.seconds)} ({self.why})"


def expected(dataset: Dataset, plan: Plan, missing: set[str], *, rate: float | None) -> Expectation:
    """The larger of what the network's budget allows and what the cores can do."""
    import ray  # here: `plan` uses this module without it

    table = plan.of_shards(missing).table
    frames = clip_seconds(table) * dataset.recipe.fps
    videos = pc.count_distinct(table.filter(pc.equal(table["source"], NETWORK))["video_id"]).as_py()
    cores = max(1.0, ray.cluster_resources().get("CPU", 1.0))
    needed = frame_times(dataset.recipe, dataset)
    a_frame, how = needed.flow + needed.other, needed.how
    compute = frames * a_frame / cores
    if rate is not None and videos * 3600 / rate > compute:
        return Expectation(videos * 3600 / rate, f"{counted(videos, 'video')} at {rate:g} an hour")
    return Expectation(compute, f"{a_frame * 1000:.1f} ms a frame and core, {how}, on {counted(round(cores), 'core')}")


def clip_seconds(table: pa.Table) -> float:
    """Seconds of the clips of a plan's table together; those without times count as the usual length."""
    seconds = table["time_end"].to_numpy() - table["time_start"].to_numpy()
    return float(np.nan_to_num(seconds, nan=USUAL_CLIP).sum())


@dataclass(frozen=True)
class FrameTimes:
    """Seconds of one core for a frame."""

    flow: float
    other: float
    """Decoding, resizing and encoding."""
    how: str
    """Where the figures come from."""


def frame_times(recipe: Recipe, dataset: Dataset | None) -> FrameTimes:
    """Seconds a frame as the earlier clips of a dataset took, where it has some; else from one timed pair of frames."""
    done = []
    if dataset is not None:
        entries = (entry for marker in dataset.some_markers(SAMPLE) for entry in marker.clips)
        done = [taken for taken in map(_frames_and_seconds, entries) if taken is not None]
    if len(done) >= 8:
        frames, flow, other = (sum(column) for column in zip(*done, strict=True))
        return FrameTimes(flow / frames, other / frames, f"as {len(done)} clips before")
    height, width = recipe.short_side, recipe.short_side * 4 // 3
    other = OTHER_THAN_FLOW * height * width
    if recipe.flow == "none":
        return FrameTimes(0.0, other, "estimated")
    return FrameTimes(_time_a_pair(recipe, height, width), other, "by one timed pair")


def _frames_and_seconds(entry: Mapping[str, Any]) -> tuple[int, float, float] | None:
    """Frames of a clip, and the seconds of its flow and of the rest but fetching."""
    if entry["outcome"] != "ok":
        return None
    other = sum(value for stage, value in entry["seconds"].items() if stage not in ("fetch", "flow"))
    return entry["frames"], entry["seconds"].get("flow", 0.0), other


def _time_a_pair(recipe: Recipe, height: int, width: int) -> float:
    """Seconds of one pair of a moving texture; the second of two, because the first may compile."""
    noise = np.random.default_rng(0).normal(size=(height + 8, width + 8))
    smooth = sum(np.roll(noise, (i, j), (0, 1)) for i in range(-3, 4) for j in range(-3, 4))
    grey = np.clip(128 + 8 * np.asarray(smooth), 0, 255).astype(np.uint8)
    pair = np.stack([grey[:height, :width], grey[2 : height + 2, 1 : width + 1]])
    backend = "cpu" if recipe.flow_backend == "cuda" else recipe.flow_backend
    for _ in range(2):
        began = time.perf_counter()
        tvl1(pair, backend=backend)
        seconds = time.perf_counter() - began
    return seconds
