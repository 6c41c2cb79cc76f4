"""What a plan will take: bytes on disk, and days of asking the network politely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe

ASPECT = 4 / 3
"""Long to short side, as most Kinetics videos have it; at 16:9 a clip takes a third more."""
WHOLE_VIDEO_SECONDS = 10.0
"""Taken for a clip without times, whose length nobody knows yet."""
RGB_BYTES, FLOW_BYTES = 4.13e6, 1.5e6
"""Of a clip of 10 s at 25 fps and 256 x 340 in the Parquet layout, RGB and flow at JPEG quality 90. Measured on real
clips; other qualities differ (95: 5.9 and 2.3 MB)."""
REFERENCE_FRAMES, REFERENCE_SIDE = 250, 256


@dataclass(frozen=True)
class Estimate:
    """Of one plan."""

    clips: int
    videos: int
    clips_by_source: dict[str, int]
    """`local` and `network`, where the clips were found when planned."""
    network_videos: int
    shards: int
    bytes: int
    """Of the shards, if every clip survives and is 4:3."""
    days: float
    """To ask the network for its videos at the given rate; 0 when there are none."""


def estimate(plan: Plan, rate_per_hour: float, recipe: Recipe) -> Estimate:
    """`rate_per_hour`: videos that may be asked of the network in an hour, by all nodes together (more than 0)."""
    columns = {name: np.asarray(plan.table[name].to_pylist(), dtype=object) for name in ("video_id", "source", "shard")}
    on_network = columns["source"] == "network"
    network_videos = len(set(columns["video_id"][on_network]))
    network_clips = int(on_network.sum())
    seconds = plan.table["time_end"].to_numpy() - plan.table["time_start"].to_numpy()
    frames = float(np.nan_to_num(seconds, nan=WHOLE_VIDEO_SECONDS).sum()) * recipe.fps
    return Estimate(
        clips=len(plan),
        videos=len(set(columns["video_id"])),
        clips_by_source={"local": len(plan) - network_clips, "network": network_clips},
        network_videos=network_videos,
        shards=len(set(columns["shard"])),
        bytes=round(frames * _bytes_per_frame(recipe)),
        days=network_videos / rate_per_hour / 24,
    )


def _bytes_per_frame(recipe: Recipe) -> float:
    pixels = recipe.short_side**2 * ASPECT
    if recipe.layout == "array":
        return pixels * (3 + (2 if recipe.flow != "none" else 0))
    encoded = RGB_BYTES + (FLOW_BYTES if recipe.flow != "none" else 0)
    return encoded / REFERENCE_FRAMES * (recipe.short_side / REFERENCE_SIDE) ** 2
