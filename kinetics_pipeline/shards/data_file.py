"""A shard's data file on this machine's disk: written, checked, and read clip by clip. See `schema` for its columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.clip_rows import CorruptRow, Origin, Shape, check_rows, shape_of, with_origin
from kinetics_pipeline.shards.layouts import layout_named
from kinetics_pipeline.shards.layouts.base import Append, ReadClip
from kinetics_pipeline.shards.schema import footer_schema, suffix_of


def data_name(shard: str, layout: Layout) -> str:
    return f"shards/{shard}{suffix_of(layout)}"


def write_data_file(
    path: Path, clips: Iterable[tuple[pa.RecordBatch, Origin]], recipe: Recipe, classes: Sequence[str]
) -> list[Shape]:
    """A data file of the rows of some clips and where they come from, checked before and after; a local scratch file.

    Raises CorruptRow for rows that are not as they were made, or were not written so.
    """
    shapes: list[Shape] = []
    with new_data_file(path, recipe, classes) as append:
        for encoded, origin in clips:
            check_rows(encoded, recipe.layout)
            rows = with_origin(encoded, origin, recipe.layout)
            shapes.append(shape_of(rows))
            append(rows)
    verify_data_file(path, shapes, recipe, classes)
    return shapes


def new_data_file(path: Path, recipe: Recipe, classes: Sequence[str]) -> AbstractContextManager[Append]:
    """A function that appends a clip's rows. A local scratch file: what is left of it after an error is removed."""
    return layout_named(recipe.layout).files.new(path, footer_schema(recipe, classes))


def open_data_file(path: Path, layout: Layout) -> AbstractContextManager[ReadClip]:
    """A function that reads the rows of one clip of a local data file: (first row, rows, position) -> batch.

    See `markers.Marker` for the three numbers. Raises CorruptRow when the file is not a data file, or a clip cannot be
    read.
    """
    return layout_named(layout).files.opened(path)


def read_clips(path: Path, layout: Layout, rows: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The rows of each clip of a local data file, given how many rows each has, in order.

    Raises CorruptRow when the file is not a data file or has not as many rows.
    """
    with open_data_file(path, layout) as read:
        require_rows(path, layout, rows)
        first = 0
        for position, count in enumerate(rows):
            yield read(first, count, position)
            first += count


def require_rows(path: Path, layout: Layout, rows: Sequence[int]) -> None:
    """Raises CorruptRow when a data file has not as many clips or rows as it should."""
    layout_named(layout).files.require_rows(path, rows)


def read_footer(path: Path, layout: Layout) -> pa.Schema:
    """The columns of a local data file and what its footer says. Raises CorruptRow when it is none."""
    return layout_named(layout).files.schema(path)


def verify_data_file(path: Path, shapes: Sequence[Shape], recipe: Recipe, classes: Sequence[str]) -> None:
    """Reads the finished file again: what a full disk or bad memory did to it must not be committed."""
    if not read_footer(path, recipe.layout).equals(footer_schema(recipe, classes), check_metadata=True):
        raise CorruptRow(f"{path.name}: its footer is not the one that was written")
    for shape, rows in zip(shapes, read_clips(path, recipe.layout, [s.rows for s in shapes]), strict=True):
        check_rows(rows, recipe.layout)
        if shape_of(rows) != shape:
            raise CorruptRow(f"{path.name}: clip {shape.clip_id} is not as it was written")
