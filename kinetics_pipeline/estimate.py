"""What a plan will take: bytes on disk, and days of asking the network politely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from kinetics_pipeline.plan import NETWORK, Plan
from kinetics_pipeline.recipe import CRF, Recipe
from kinetics_pipeline.records import count_different
from kinetics_pipeline.sources.http.mp4_index import HEAD

ASPECT = 4 / 3
"""Long to short side, as most Kinetics videos have it; at 16:9 a clip takes a third more."""
WHOLE_VIDEO_SECONDS = 10.0
"""Taken for a clip without times, whose length nobody knows yet."""
RGB_BYTES, FLOW_BYTES = 4.13e6, 1.5e6
"""Bytes of a clip of 10 s at 25 fps and 256 x 340 in the Parquet layout, RGB and flow at JPEG quality 90. Measured on
real clips; other qualities differ (95: 5.9 and 2.3 MB)."""
VIDEO_SHARE = 0.25
"""Bytes of RGB in the video layout relative to that, at the default crf: 0.22 to 0.29 for four real clips."""
REFERENCE_FRAMES, REFERENCE_SIDE = 250, 256
SIDES = (144, 240, 360, 480, 720, 1080, 1440, 2160)
"""Short sides that YouTube offers (of pictures that are 16:9)."""
SECOND_AT_360 = 75_000
"""Bytes of a second of a video, taken for YouTube's H.264 with a short side of 360; with other sides by their power of
1.5, as its bitrates go."""
AROUND = 7.0
"""Seconds that are fetched around a clip: a margin on both sides, and whole segments of five seconds."""
KEPT, SOUND_SECOND = 2.0, 16_000
"""Size of a kept segment: its pictures' bytes relative to YouTube's, whose quality it nearly keeps (1.6 to 2.7 for four
real clips), and the bytes of a second of its sound."""


@dataclass(frozen=True)
class Estimate:
    """What one plan will take."""

    clips: int
    videos: int
    clips_by_source: dict[str, int]
    """`local` and `network`, where the clips were found when planned."""
    network_videos: int
    shards: int
    bytes: int
    """Bytes of the shards, if every clip survives and is 4:3."""
    fetched: int
    """Bytes of the sections of YouTube's files that hold the clips of the network, if every video is there."""
    kept: int
    """Bytes of the cut segments where they are kept, if every clip survives and is as large as YouTube's."""
    days: float
    """Days to ask the network for its videos at the given rate; 0 when there are none."""


def estimate(plan: Plan, rate_per_hour: float, recipe: Recipe) -> Estimate:
    """`rate_per_hour`: videos that may be asked of the network in an hour, by all nodes together (more than 0)."""
    table = plan.table
    is_network = pc.equal(table["source"], NETWORK)
    on_network = is_network.to_numpy().astype(bool)
    videos = count_different(table["video_id"])
    network_clips = int(on_network.sum())
    network_videos = videos if network_clips == len(plan) else count_different(table["video_id"].filter(is_network))
    seconds = np.nan_to_num(
        plan.table["time_end"].to_numpy() - plan.table["time_start"].to_numpy(), nan=WHOLE_VIDEO_SECONDS
    )
    frames = float(seconds.sum()) * recipe.fps
    side = next((side for side in SIDES if side >= recipe.short_side), SIDES[-1])
    a_second = SECOND_AT_360 * (side / 360) ** 1.5
    around = (float(seconds[on_network].sum()) + AROUND * network_clips) * a_second
    return Estimate(
        clips=len(plan),
        videos=videos,
        clips_by_source={"local": len(plan) - network_clips, "network": network_clips},
        network_videos=network_videos,
        shards=len(plan.shard_names()),
        bytes=round(frames * _bytes_per_frame(recipe)),
        fetched=round(around) + HEAD * network_videos,
        kept=round(float(seconds.sum()) * (KEPT * a_second + SOUND_SECOND)),
        days=network_videos / rate_per_hour / 24,
    )


def video_share(recipe: Recipe) -> float:
    """Bytes of RGB as H.264 relative to JPEGs of quality 90: six steps of crf halve them, as measured from 10 to 18."""
    return VIDEO_SHARE * float(2 ** ((CRF - recipe.crf) / 6))


def _bytes_per_frame(recipe: Recipe) -> float:
    pixels = recipe.short_side**2 * ASPECT
    if recipe.layout == "array":
        return pixels * (3 + (2 if recipe.flow != "none" else 0))
    rgb = RGB_BYTES * (video_share(recipe) if recipe.layout == "video" else 1)
    encoded = rgb + (FLOW_BYTES if recipe.flow != "none" else 0)
    return encoded / REFERENCE_FRAMES * (recipe.short_side / REFERENCE_SIDE) ** 2
