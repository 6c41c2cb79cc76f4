"""The clips that simulated builds ask for: a few shapes, so that their plans are made once and not in every run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pandas as pd
import pyarrow as pa

from kinetics_pipeline.annotations.columns import as_columns
from kinetics_pipeline.annotations.table import clips_of
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, clip_id

RECIPE, CLASSES = Recipe(flow="none"), ["a", "b"]


@dataclass(frozen=True)
class Shape:
    """How large a dataset is."""

    videos: int
    clips: int
    """Clips of each video."""
    clips_per_shard: int


SHAPES = (Shape(3, 1, 2), Shape(4, 2, 3), Shape(6, 1, 3), Shape(8, 1, 2), Shape(12, 1, 4), Shape(7, 2, 4))


@cache
def asked(shape: Shape) -> tuple[pa.Table, dict[str, Clip]]:
    """The columns of a shape, and its clips by their ids."""
    rows = [(f"video{number:06d}", 20.0 * begin) for number in range(shape.videos) for begin in range(shape.clips)]
    table = pd.DataFrame(
        {
            "clip_id": [clip_id(video, begin, begin + 10.0) for video, begin in rows],
            "video_id": [video for video, _ in rows],
            "time_start": [begin for _, begin in rows],
            "time_end": [begin + 10.0 for _, begin in rows],
            "label": [CLASSES[number % 2] for number in range(len(rows))],
            "split": "train",
        }
    )
    return as_columns(table), {clip.clip_id: clip for clip in clips_of(table)}
