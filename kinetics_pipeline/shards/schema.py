"""The columns of a shard and what its footer says: schema versions 1 to 3.

Since version 2 every row says which video and which seconds of it the clip is, and its split; a row of version 1 does
not, and its dataset's markers and plans do. A shard says its version in its footer, so that a dataset may hold both.
Version 3 is the video layout; the others are still written in version 2, which older programs read.

A row is a chunk of `chunk_length` frames of one clip (the last one of a clip may be shorter). In the `parquet` layout a
row is a row group and its images are JPEG; in the `array` layout the rows of a clip are one record batch of an Arrow
IPC file and its images are the raw uint8 values that those JPEGs stand for; the `video` layout is Parquet with H.264 in
place of RGB's JPEGs, a string for the n frames of a row.

The footer holds nothing of the time, the machine or the libraries, so that the same clips give the same bytes; those
are in the commit marker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.flow.parameters import FLOW_BOUND
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.layouts import layout_named

SCHEMA_VERSION = 3
"""The newest that is read. A newer one is refused; every older one stays readable."""

_CLIP_ID = pa.field("clip_id", pa.string(), nullable=False)
ORIGIN_FIELDS: tuple[pa.Field, ...] = (
    pa.field("video_id", pa.string(), nullable=False),
    pa.field("time_start", pa.float64()),
    pa.field("time_end", pa.float64()),
    pa.field("split", pa.string(), nullable=False),
)
"""Where the clip comes from: seconds of the video (null for a whole video) and the split. Since version 2."""
_CHUNK_FIELDS: tuple[pa.Field, ...] = (
    pa.field("chunk", pa.int16(), nullable=False),
    pa.field("start_frame", pa.int32(), nullable=False),
    pa.field("n", pa.int16(), nullable=False),
    pa.field("height", pa.int16(), nullable=False),
    pa.field("width", pa.int16(), nullable=False),
    pa.field("label", pa.int32(), nullable=False),
)
"""The frames of the row; label is -1 for none or several."""
ROW_FIELDS: tuple[pa.Field, ...] = (_CLIP_ID, *ORIGIN_FIELDS, *_CHUNK_FIELDS)
"""Everything that a row says beside its images."""


def suffix_of(layout: Layout) -> str:
    """How the names of data files end, with the dot."""
    return layout_named(layout).files.suffix


def clip_schema(layout: Layout) -> pa.Schema:
    """The columns of an encoded clip that waits for its shard: without `ORIGIN_FIELDS`, which the shard adds."""
    return row_schema(layout, 1)


def written_version(layout: Layout) -> int:
    """The schema version in which shards of a layout are written."""
    return layout_named(layout).versions[-1]


def row_schema(layout: Layout, version: int | None = None) -> pa.Schema:
    """The columns of a shard, in order; of the `written_version` by default. `flow` and `crc_flow` are null in a
    dataset without flow.

    `rgb` and `flow` hold n images: a list of JPEGs in the parquet layout, uint8 [n, H, W, 3] and [n, 2, H, W] in
    C order in the array layout; in the video layout `rgb` is one H.264 string (`layouts.h264`).
    """
    stored = layout_named(layout)
    return pa.schema(
        [
            *((_CLIP_ID, *_CHUNK_FIELDS) if version == 1 else ROW_FIELDS),
            pa.field("rgb", stored.rgb.column, nullable=False),
            pa.field("flow", stored.flow.column),
            pa.field("crc_rgb", pa.uint32(), nullable=False),
            pa.field("crc_flow", pa.uint32()),
        ]
    )


def version_of(columns: pa.Schema, layout: Layout) -> int | None:
    """The schema version whose columns these are; None when they are not those of a shard."""
    versions = layout_named(layout).versions
    return next((version for version in versions if columns.equals(row_schema(layout, version))), None)


def footer_schema(recipe: Recipe, classes: Sequence[str]) -> pa.Schema:
    """`row_schema` with the key-values that make a shard readable without its dataset."""
    stored = layout_named(recipe.layout)
    footer = {
        "schema_version": str(written_version(recipe.layout)),
        "recipe": json.dumps(recipe.to_json(), sort_keys=True),
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "rgb": stored.rgb.described(recipe),
        "channel_order": "RGB",
        "flow": "none" if recipe.flow == "none" else stored.flow.described(recipe),
        "flow_quantisation": f"128 + rint(px * 127 / {FLOW_BOUND}), px clamped to +-{FLOW_BOUND}",
        "crc": "CRC-32 over each image's length (uint32, little-endian) and bytes",
    }
    return row_schema(recipe.layout).with_metadata(footer)


def recipe_of_footer(metadata: Mapping[bytes, bytes] | None, name: str) -> Recipe:
    """The recipe a shard was made with. Raises UserError for a newer schema, JobFailed when the footer says none."""
    try:
        version = int((metadata or {})[b"schema_version"])
    except (KeyError, ValueError):
        raise JobFailed(f"{name}: its footer does not say what it is; verify the dataset") from None
    require_readable(version, name)
    try:
        return Recipe.from_json(json.loads((metadata or {})[b"recipe"]))
    except (KeyError, TypeError, ValueError):
        raise JobFailed(f"{name}: its footer holds no readable recipe; verify the dataset") from None


def require_readable(version: object, name: str) -> None:
    """Raises UserError when `version`, found in `name`, is newer than this program or is not a version at all."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{name}: schema version {version!r} is none; allowed: 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{name}: schema version {version} is newer than this program reads (1 to {SCHEMA_VERSION}): "
            "upgrade kinetics-pipeline"
        )
