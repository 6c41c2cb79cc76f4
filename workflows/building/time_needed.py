"""How long a plan will take: said before it starts, from what earlier clips took or one timed frame pair."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.markers import Marker
from kinetics_pipeline.workflows.runtime.progress import duration

OTHER_THAN_FLOW = 1.0e-8
"""Seconds a pixel and frame of decoding, resizing and JPEG: 0.22 s a clip of 250 frames at 256 x 340."""
SOON = 60.0
"""Seconds. Below, it is the start of processes that takes the time."""
USUAL_CLIP = 10.0
"""Seconds of a clip whose times are not given: Kinetics' length."""


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
    frames, videos = 0.0, set()
    for shard in plan.shards():
        if shard.name not in missing:
            continue
        for clip in shard.clips:
            start, end = clip.time_start, clip.time_end
            frames += (USUAL_CLIP if start is None or end is None else end - start) * dataset.recipe.fps
        if not shard.local:
            videos |= {clip.video_id for clip in shard.clips}
    cores = max(1.0, ray.cluster_resources().get("CPU", 1.0))
    a_frame, how = _seconds_a_frame(dataset)
    compute = frames * a_frame / cores
    if rate is not None and len(videos) * 3600 / rate > compute:
        return Expectation(len(videos) * 3600 / rate, f"{len(videos)} videos at {rate:g} an hour")
    return Expectation(compute, f"{a_frame * 1000:.1f} ms a frame and core, {how}, on {cores:.0f} cores")


def _seconds_a_frame(dataset: Dataset) -> tuple[float, str]:
    done = [taken for taken in dataset.newest(_frames_and_seconds).values() if taken is not None]
    if len(done) >= 8:
        local = sum(seconds for _, seconds in done)
        return local / sum(frames for frames, _ in done), f"as the {len(done)} clips before"
    recipe = dataset.recipe
    height, width = recipe.short_side, recipe.short_side * 4 // 3
    other = OTHER_THAN_FLOW * height * width
    if recipe.flow == "none":
        return other, "estimated"
    return other + _time_a_pair(recipe, height, width), "by one timed pair"


def _frames_and_seconds(marker: Marker, entry: Mapping[str, Any]) -> tuple[int, float] | None:
    if entry["outcome"] != "ok":
        return None
    return entry["frames"], sum(value for stage, value in entry["seconds"].items() if stage != "fetch")


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
