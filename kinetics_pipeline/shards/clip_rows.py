"""One clip's rows as bytes: what goes between the stages, into the spool and, concatenated, into a shard.

A payload is an Arrow IPC stream with the schema of `schema.clip_schema` and one record batch, a row a chunk. The same
frames, flow and recipe give the same bytes. The payload of a clip that is not `ok` is `b""`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.layouts import layout_named
from kinetics_pipeline.shards.layouts.base import CorruptRow as CorruptRow
from kinetics_pipeline.shards.layouts.base import Size, StoredImages, binary_strings, typed
from kinetics_pipeline.shards.schema import ORIGIN_FIELDS, clip_schema, row_schema

Flow = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Origin:
    """Where a clip comes from. Times are seconds of the video; None for a whole video."""

    video_id: str
    time_start: float | None
    time_end: float | None
    split: str

    @classmethod
    def of(cls, entry: Mapping[str, Any], split: str) -> Origin:
        """The origin of the clip of a record or of a marker's entry, given as a mapping."""
        return cls(entry["video_id"], entry["time_start"], entry["time_end"], split)


@dataclass(frozen=True)
class Shape:
    """What the rows of a clip say together."""

    clip_id: str
    label: int
    rows: int
    frames: int
    height: int
    width: int
    content: str
    """`content_digest` of the rows."""
    origin: Origin | None
    """None for rows that do not say it: those of an encoded clip, and those of schema version 1."""


def encode_clip(
    clip_id: str,
    label: int,
    frames: NDArray[np.uint8],
    flow: Flow | None,
    recipe: Recipe,
) -> bytes:
    """The rows of a clip.

    `label` is the class number (-1: none or several), `frames` uint8 [T, H, W, 3] with T >= 1, `flow` [T, 2, H, W],
    (u, v): float32 in pixels a frame, or uint8 as `flow.quantised_tvl1` gives it; None when the recipe has none.
    Raises ValueError for anything else.
    """
    frames = np.ascontiguousarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[0] < 1:
        raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}; allowed: uint8 [T >= 1, H, W, 3]")
    count, height, width, _ = frames.shape
    if (flow is None) != (recipe.flow == "none"):
        raise ValueError(f"flow is {'missing' if flow is None else 'given'}, but the recipe says {recipe.flow}")
    stored = None if flow is None else _stored(flow)
    if stored is not None and stored.shape != (count, 2, height, width):
        raise ValueError(f"flow is {list(stored.shape)}; the frames ask for {[count, 2, height, width]}")
    return _payload(_encoded(clip_id, label, frames, stored, recipe))


def _stored(flow: Flow) -> NDArray[np.uint8]:
    return flow.astype(np.uint8, copy=False) if flow.dtype == np.uint8 else quantise_flow(flow.astype(np.float32))


def recode(rows: pa.RecordBatch, made: Recipe, recipe: Recipe) -> bytes:
    """A clip's rows, made by one recipe, as the payload of another that differs from it in storage alone.

    Flow that both store in one way is copied as it is. Raises CorruptRow for rows that are not as they were written.
    """
    shape = shape_of(rows)
    old, new = layout_named(made.layout), layout_named(recipe.layout)
    if made == recipe:
        check_rows(rows, made.layout)
        return _payload(rows.select(clip_schema(made.layout).names).replace_schema_metadata(None))
    frames = np.stack(list(decode_rows(rows, "rgb", made.layout)))
    flow = None
    as_stored = made.flow == "none" or (old.flow, old.flow.quality(made)) == (new.flow, new.flow.quality(recipe))
    if not as_stored:
        flow = np.stack(list(decode_rows(rows, "flow", made.layout)))
    encoded = _encoded(shape.clip_id, shape.label, frames, flow, recipe)
    if as_stored:
        for name in ("flow", "crc_flow"):
            number = encoded.schema.get_field_index(name)
            column = rows.column(rows.schema.get_field_index(name))
            encoded = encoded.set_column(number, encoded.schema.field(number), column)
    return _payload(encoded)


def _encoded(
    clip_id: str, label: int, frames: NDArray[np.uint8], stored: NDArray[np.uint8] | None, recipe: Recipe
) -> pa.RecordBatch:
    rows = [
        _row(clip_id, label, chunk, start, frames[start:end], None if stored is None else stored[start:end], recipe)
        for chunk, start in enumerate(range(0, len(frames), recipe.chunk_length))
        for end in (min(start + recipe.chunk_length, len(frames)),)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=clip_schema(recipe.layout))


def _payload(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _row(
    clip_id: str,
    label: int,
    chunk: int,
    start: int,
    frames: NDArray[np.uint8],
    flow: NDArray[np.uint8] | None,
    recipe: Recipe,
) -> dict[str, Any]:
    """One chunk of a clip as a row of the recipe's layout, its CRC included."""
    count, height, width, _ = frames.shape
    found: dict[str, Any] = {"flow": None, "crc_flow": None}
    for stream, images in (("rgb", frames), ("flow", flow)):
        if images is None:
            continue
        storage = layout_named(recipe.layout).storage(stream)
        strings = storage.encoded(images, recipe)
        found[stream] = strings if pa.types.is_list(storage.column) else strings[0]
        found[f"crc_{stream}"] = storage.stored([typed(one) for one in strings], (count, height, width)).crc()
    return {
        "clip_id": clip_id,
        "chunk": chunk,
        "start_frame": start,
        "n": count,
        "height": height,
        "width": width,
        "label": label,
        **found,
    }


def with_origin(rows: pa.RecordBatch, origin: Origin, layout: Layout) -> pa.RecordBatch:
    """The rows of a clip with the columns of a shard (`schema.row_schema`)."""
    known = {name: pa.array([value] * rows.num_rows, rows_type) for name, value, rows_type in _columns(origin)}
    schema = row_schema(layout)
    columns = [known[name] if name in known else rows.column(name) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _columns(origin: Origin) -> Iterator[tuple[str, str | float | None, pa.DataType]]:
    for field in ORIGIN_FIELDS:
        yield field.name, getattr(origin, field.name), field.type


def rows_of(payload: bytes) -> pa.RecordBatch:
    """The rows of a payload. Raises CorruptRow when the bytes are no payload."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
            batches = list(stream)
    except (pa.ArrowInvalid, OSError, EOFError) as e:
        raise CorruptRow(f"not a payload: {e}") from e
    if len(batches) != 1 or batches[0].num_rows == 0:
        raise CorruptRow(f"a payload of {len(batches)} batches")
    return batches[0]


def images_of(rows: pa.RecordBatch, row: int, stream: str, layout: Layout) -> StoredImages:
    """The stored images of a row, without copying. Raises CorruptRow when their number or size is not what it says."""
    count, height, width = (rows.column(rows.schema.get_field_index(k))[row].as_py() for k in ("n", "height", "width"))
    if None in (count, height, width):  # only in a file that another program wrote
        raise CorruptRow("the row does not say how many images it has and of what size")
    return stored_images(rows.column(rows.schema.get_field_index(stream)), row, stream, layout, (count, height, width))


def stored_images(column: pa.Array, row: int, stream: str, layout: Layout, size: Size) -> StoredImages:
    """`images_of` a column of images, [n, H, W] of which are known. Raises CorruptRow when they are not so many."""
    return layout_named(layout).storage(stream).stored(binary_strings(column, row), size)


def check_rows(rows: pa.RecordBatch, layout: Layout) -> None:
    """Raises CorruptRow, naming clip and chunk, for the first row whose images do not have the CRC it says."""
    flow = rows.column(rows.schema.get_field_index("flow"))
    for row in range(rows.num_rows):
        streams = ("rgb", "flow") if flow[row].is_valid else ("rgb",)
        for stream in streams:
            stored_crc = rows.column(rows.schema.get_field_index(f"crc_{stream}"))[row].as_py()
            place = f"clip {rows['clip_id'][row].as_py()}, chunk {rows['chunk'][row].as_py()}, {stream}"
            try:
                found = images_of(rows, row, stream, layout).crc()
            except CorruptRow as e:
                raise CorruptRow(f"{place}: {e}") from None
            if found != stored_crc:
                raise CorruptRow(f"{place}: CRC {found:#010x} where the row says {stored_crc}")


def shape_of(rows: pa.RecordBatch) -> Shape:
    """What the rows of one clip say together. Raises CorruptRow when they are not the rows of one clip, in order."""
    columns = rows.select([f.name for f in rows.schema if f.name not in ("rgb", "flow")]).to_pylist()
    first, start = columns[0], 0
    known = [field.name for field in ORIGIN_FIELDS if field.name in first]
    for chunk, row in enumerate(columns):
        same = all(row[k] == first[k] for k in ("clip_id", "height", "width", "label", *known))
        if not same or row["chunk"] != chunk or row["start_frame"] != start or row["n"] < 1:
            raise CorruptRow(f"clip {first['clip_id']}: row {chunk} does not follow the one before")
        start += row["n"]
    crcs = [(row["crc_rgb"], row["crc_flow"]) for row in columns]
    return Shape(
        first["clip_id"],
        first["label"],
        len(columns),
        start,
        first["height"],
        first["width"],
        content_digest(crcs),
        Origin.of(first, first["split"]) if known else None,
    )


def content_digest(crcs: list[tuple[int, int | None]]) -> str:
    """What stands for a clip's content: the first 16 hex digits of SHA-256 over its rows' CRCs.

    For each chunk in order `crc_rgb` and `crc_flow` (0 without flow), little-endian uint32 each.
    """
    return hashlib.sha256(b"".join(struct.pack("<II", rgb, flow or 0) for rgb, flow in crcs)).hexdigest()[:16]


def decode_rows(rows: pa.RecordBatch, stream: str, layout: Layout) -> Iterator[NDArray[np.uint8]]:
    """The stored values of a clip's frames in order: uint8 [H, W, 3] of `rgb`, [2, H, W] of `flow`.

    Raises CorruptRow for a row that is not as it was written.
    """
    check_rows(rows, layout)
    for row in range(rows.num_rows):
        height, width = (rows.column(rows.schema.get_field_index(k))[row].as_py() for k in ("height", "width"))
        images = images_of(rows, row, stream, layout)
        try:
            yield from all_images(images, stream, height, width)
        except (ValueError, IndexError) as e:
            raise CorruptRow(f"clip {rows['clip_id'][row].as_py()}, row {row}, {stream}: {e}") from None


def all_images(images: StoredImages, stream: str, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """All images of a row, one after the other, in memory of their own: uint8 [H, W, 3] of `rgb`, [2, H, W] of `flow`.

    Raises ValueError or IndexError for one that is broken or of another size.
    """
    whole = np.empty((height, width, 3) if stream == "rgb" else (2, height, width), np.uint8)
    for some in images.crops(range(len(images)), slice(0, height), slice(0, width), whole):
        yield from some.copy()


def decode_payload(payload: bytes, stream: str, layout: Layout) -> NDArray[np.uint8]:
    """All stored values of a clip: uint8 [T, H, W, 3] of `rgb`, [T, 2, H, W] of `flow`. Raises CorruptRow."""
    return np.stack(list(decode_rows(rows_of(payload), stream, layout)))
