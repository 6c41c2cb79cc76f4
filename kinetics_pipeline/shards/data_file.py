"""A shard's data file on this machine's disk: written, checked, and read clip by clip. See `schema` for its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.clip_rows import CorruptRow, Origin, Shape, check_rows, shape_of, with_origin
from kinetics_pipeline.shards.schema import ROW_FIELDS, SUFFIX, footer_schema


def data_name(shard: str, layout: Layout) -> str:
    return f"shards/{shard}{SUFFIX[layout]}"


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


@contextmanager
def new_data_file(path: Path, recipe: Recipe, classes: Sequence[str]) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that appends a clip's rows. A local scratch file: what is left of it after an error is removed."""
    schema = footer_schema(recipe, classes)
    if recipe.layout == "array":
        with pa.ipc.new_file(path, schema) as arrays:
            yield lambda rows: arrays.write_batch(rows.replace_schema_metadata(schema.metadata))
        return
    # Plain pictures and small row groups, as the viewer of Hugging Face's Hub wants them. No page index: a row group
    # is one row, so it would say where that lies a second time, in a footer a sixth larger.
    with pq.ParquetWriter(
        path,
        schema,
        use_dictionary=False,
        compression="none",
        write_statistics=[field.name for field in ROW_FIELDS],
        write_page_checksum=True,
    ) as parquet:
        yield lambda rows: parquet.write_table(pa.Table.from_batches([rows]), row_group_size=1)


@contextmanager
def open_data_file(path: Path, layout: Layout) -> Iterator[Callable[[int, int, int], pa.RecordBatch]]:
    """A function that reads the rows of one clip of a local data file: (first row, rows, position) -> batch.

    See `markers.Marker` for the three numbers. Raises CorruptRow when the file is not a data file, or a clip cannot be
    read.
    """
    with _read_errors(path), ExitStack() as stack:
        if layout == "array":
            arrays = stack.enter_context(pa.ipc.open_file(stack.enter_context(pa.memory_map(str(path)))))

            def read(first: int, rows: int, position: int) -> pa.RecordBatch:
                with _read_errors(path):
                    batch = arrays.get_batch(position)
                    batch.validate(full=True)  # offsets that lead out of the file would end the process
                    if any(batch[field.name].null_count for field in batch.schema if not field.nullable):
                        raise CorruptRow(f"{path.name}: clip {position} has rows with nothing in them")
                return batch
        else:
            parquet = stack.enter_context(pq.ParquetFile(path, page_checksum_verification=True))

            def read(first: int, rows: int, position: int) -> pa.RecordBatch:
                with _read_errors(path):
                    table = parquet.read_row_groups(range(first, first + rows), use_threads=False)
                    if table.num_rows != rows:
                        raise CorruptRow(f"{path.name}: {table.num_rows} rows instead of {rows}")
                    return table.combine_chunks().to_batches()[0]

        yield read


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, IndexError, OverflowError, UnicodeDecodeError) as e:
        raise CorruptRow(f"{path.name}: {' '.join(str(e).split())}") from e


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
    with _read_errors(path):
        if layout == "array":
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as arrays:
                if arrays.num_record_batches != len(rows):
                    raise CorruptRow(f"{path.name}: {arrays.num_record_batches} clips instead of {len(rows)}")
            return
        footer = pq.read_metadata(path)
        if footer.num_row_groups != sum(rows) or footer.num_rows != sum(rows):
            raise CorruptRow(f"{path.name}: {footer.num_row_groups} row groups instead of {sum(rows)}")


def read_footer(path: Path, layout: Layout) -> pa.Schema:
    """The columns of a local data file and what its footer says. Raises CorruptRow when it is none."""
    with _read_errors(path):
        if layout == "array":
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as arrays:
                return arrays.schema
        return pq.read_schema(path)


def verify_data_file(path: Path, shapes: Sequence[Shape], recipe: Recipe, classes: Sequence[str]) -> None:
    """Reads the finished file again: what a full disk or bad memory did to it must not be committed."""
    if not read_footer(path, recipe.layout).equals(footer_schema(recipe, classes), check_metadata=True):
        raise CorruptRow(f"{path.name}: its footer is not the one that was written")
    for shape, rows in zip(shapes, read_clips(path, recipe.layout, [s.rows for s in shapes]), strict=True):
        check_rows(rows, recipe.layout)
        if shape_of(rows) != shape:
            raise CorruptRow(f"{path.name}: clip {shape.clip_id} is not as it was written")
