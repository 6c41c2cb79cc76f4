"""The layouts of a shard: how the frames and flow of a row are stored, and in what kind of file.

In: images of a row, or the byte strings of one. Out: byte strings, or images that are decoded when they are wanted.
Everything that differs from layout to layout is here; the rest of the package asks `layout_named`. A new layout is a
new entry of the table, and a name in `recipe.Layout`. Begin reading with `base`.
"""

from __future__ import annotations

from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards.layouts.arrow_files import ArrowFiles
from kinetics_pipeline.shards.layouts.base import ShardLayout
from kinetics_pipeline.shards.layouts.jpegs import FLOW_JPEGS, RGB_JPEGS
from kinetics_pipeline.shards.layouts.parquet_files import ParquetFiles
from kinetics_pipeline.shards.layouts.raw import RawStorage
from kinetics_pipeline.shards.layouts.video import VideoStorage

_LAYOUTS: dict[Layout, ShardLayout] = {
    "parquet": ShardLayout(RGB_JPEGS, FLOW_JPEGS, ParquetFiles(), versions=(1, 2)),
    "array": ShardLayout(RawStorage("rgb"), RawStorage("flow"), ArrowFiles(), versions=(1, 2)),
    "video": ShardLayout(VideoStorage(), FLOW_JPEGS, ParquetFiles(), versions=(3,)),
}


def layout_named(name: Layout) -> ShardLayout:
    """What a recipe's `layout` stands for."""
    return _LAYOUTS[name]
