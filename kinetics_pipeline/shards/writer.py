"""Commits a shard: its data file finished and checked on local disk, uploaded, and its marker last.

The data file holds nothing of the time, the machine or the run, so that whoever writes it again, after whatever
interruption, writes the same bytes; two writers of one shard are therefore harmless. The marker holds the rest.
"""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.clip_rows import CorruptRow, Shape, check_rows, rows_of, shape_of
from kinetics_pipeline.shards.markers import SHARD_NAME, sealed
from kinetics_pipeline.shards.schema import ROW_FIELDS, SUFFIX, footer_schema
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.storage.store import Store, said_in_a_line

_PACKAGES = (
    "kinetics-pipeline",
    "imageio-ffmpeg",
    "numba",
    "numpy",
    "opencv-contrib-python-headless",
    "pyarrow",
    "simplejpeg",
    "torch",
    "yt-dlp",
)


class Superseded(JobFailed):
    """Another build has taken over the dataset: this one must not commit any more."""


def marker_name(shard: str) -> str:
    return f"shards/{shard}.json"


def data_name(shard: str, layout: Layout) -> str:
    return f"shards/{shard}{SUFFIX[layout]}"


def write_shard(
    store: Store,
    *,
    name: str,
    plan: str,
    clips: Iterable[tuple[Record, bytes]],
    recipe: Recipe,
    classes: Sequence[str],
    scratch: Path,
    still_current: Callable[[], bool],
) -> dict[str, Any]:
    """Commits shard `name` (`{split}-{number:05d}`) of `plan` and returns its marker.

    `clips` are all the clips of the shard in the plan's order, each with its payload (`b""` unless `ok`); they are
    gone through once, so a generator bounds the memory. `classes` is the dataset's list, whose positions are the
    labels of the rows. A shard that is already committed is left as it is and its marker returned.

    Raises Superseded when `still_current()` is false just before the upload or just before the marker, CorruptRow for
    a payload or a written file whose rows are not as they were made, UserError or JobFailed for what storage refuses.
    """
    if not SHARD_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no shard name; allowed: split-00000")
    if store.exists(marker_name(name)):
        return dict(json.loads(store.read(marker_name(name))))
    with said_in_a_line(f"make {scratch}"):
        scratch.mkdir(parents=True, exist_ok=True)
    unfinished = scratch / f"{name}.{uuid.uuid4().hex}{SUFFIX[recipe.layout]}"
    try:
        with said_in_a_line(f"write {unfinished}"):
            entries, shapes = _write_rows(unfinished, clips, recipe, classes)
        marker: dict[str, Any] = {"shard": name, "plan": plan, "bytes": 0, "sha256": None, "clips": entries}
        if shapes:
            _verify(unfinished, shapes, recipe, classes)
            marker["sha256"] = sha256_of(unfinished)
            marker["bytes"] = unfinished.stat().st_size
            _require_current(still_current, name)
            store.upload(unfinished, data_name(name, recipe.layout))
        marker["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        marker["versions"] = versions()
        _require_current(still_current, name)
        as_written = sealed(marker)
        store.write(marker_name(name), as_written)
        return dict(json.loads(as_written))
    finally:
        unfinished.unlink(missing_ok=True)


@cache
def versions() -> dict[str, str]:
    """The versions of what makes frames, flow and files here, for markers and results."""
    found = {"python": platform.python_version(), "processor": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _require_current(still_current: Callable[[], bool], name: str) -> None:
    if not still_current():
        raise Superseded(f"shard {name} is not committed: another build has taken over this dataset")


def _write_rows(
    path: Path, clips: Iterable[tuple[Record, bytes]], recipe: Recipe, classes: Sequence[str]
) -> tuple[list[dict[str, Any]], list[Shape]]:
    """The data file (only with a clip that is ok), the marker's entries, and the shapes of the clips written."""
    entries: list[dict[str, Any]] = []
    shapes: list[Shape] = []
    numbers = {label: number for number, label in enumerate(classes)}
    with _data_file(path, recipe, classes) as append:
        for record, payload in clips:
            entry = record.to_json()
            if record.outcome == "ok":
                rows = rows_of(payload)
                check_rows(rows, recipe.layout)
                shape = shape_of(rows)
                label = -1 if record.label is None else numbers.get(record.label, -1)
                if (shape.clip_id, shape.frames, shape.label) != (record.clip_id, record.frames, label):
                    raise CorruptRow(f"the rows of {shape} are not those of {record.clip_id}, label {label}")
                append(rows)
                shapes.append(shape)
                entry |= {"rows": shape.rows, "height": shape.height, "width": shape.width, "content": shape.content}
            elif payload:
                raise ValueError(f"{record.clip_id} is {record.outcome}, yet has {len(payload)} bytes of rows")
            entries.append(entry)
    return entries, shapes


def write_data_file(path: Path, clips: Iterable[pa.RecordBatch], recipe: Recipe, classes: Sequence[str]) -> list[Shape]:
    """A data file of the rows of some clips, checked before and after; a local scratch file.

    Raises CorruptRow for rows that are not as they were made, or were not written so.
    """
    shapes: list[Shape] = []
    with _data_file(path, recipe, classes) as append:
        for rows in clips:
            check_rows(rows, recipe.layout)
            shapes.append(shape_of(rows))
            append(rows)
    _verify(path, shapes, recipe, classes)
    return shapes


@contextmanager
def _data_file(path: Path, recipe: Recipe, classes: Sequence[str]) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that appends a clip's rows. A local scratch file: what is left of it after an error is removed."""
    schema = footer_schema(recipe, classes)
    if recipe.layout == "array":
        with pa.ipc.new_file(path, schema) as arrays:
            yield lambda rows: arrays.write_batch(rows.replace_schema_metadata(schema.metadata))
        return
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
def opened(path: Path, layout: Layout) -> Iterator[Callable[[int, int, int], pa.RecordBatch]]:
    """A function that reads the rows of one clip of a local data file: (first row, rows, position) -> batch.

    See `markers.Marker` for the three numbers. Raises CorruptRow when the file is no data file, or a clip cannot be
    read.
    """
    with _said_as_corrupt(path), ExitStack() as stack:
        if layout == "array":
            arrays = stack.enter_context(pa.ipc.open_file(stack.enter_context(pa.memory_map(str(path)))))

            def read(first: int, rows: int, position: int) -> pa.RecordBatch:
                with _said_as_corrupt(path):
                    batch = arrays.get_batch(position)
                    batch.validate(full=True)  # offsets that lead out of the file would end the process
                    if any(batch[field.name].null_count for field in batch.schema if not field.nullable):
                        raise CorruptRow(f"{path.name}: clip {position} has rows with nothing in them")
                return batch
        else:
            parquet = stack.enter_context(pq.ParquetFile(path, page_checksum_verification=True))

            def read(first: int, rows: int, position: int) -> pa.RecordBatch:
                with _said_as_corrupt(path):
                    table = parquet.read_row_groups(range(first, first + rows), use_threads=False)
                    if table.num_rows != rows:
                        raise CorruptRow(f"{path.name}: {table.num_rows} rows instead of {rows}")
                    return table.combine_chunks().to_batches()[0]

        yield read


@contextmanager
def _said_as_corrupt(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, IndexError, OverflowError, UnicodeDecodeError) as e:
        raise CorruptRow(f"{path.name}: {' '.join(str(e).split())}") from e


def read_clips(path: Path, layout: Layout, rows: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The rows of each clip of a local data file, given how many rows each has, in order.

    Raises CorruptRow when the file is no data file or has not as many rows.
    """
    with opened(path, layout) as read:
        require_rows(path, layout, rows)
        first = 0
        for position, count in enumerate(rows):
            yield read(first, count, position)
            first += count


def require_rows(path: Path, layout: Layout, rows: Sequence[int]) -> None:
    """Raises CorruptRow when a data file has not as many clips or rows as it should."""
    with _said_as_corrupt(path):
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
    with _said_as_corrupt(path):
        if layout == "array":
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as arrays:
                return arrays.schema
        return pq.read_schema(path)


def _verify(path: Path, shapes: Sequence[Shape], recipe: Recipe, classes: Sequence[str]) -> None:
    """Reads the finished file again: what a full disk or bad memory did to it must not be committed."""
    if not read_footer(path, recipe.layout).equals(footer_schema(recipe, classes), check_metadata=True):
        raise CorruptRow(f"{path.name}: its footer is not the one that was written")
    for shape, rows in zip(shapes, read_clips(path, recipe.layout, [s.rows for s in shapes]), strict=True):
        check_rows(rows, recipe.layout)
        if shape_of(rows) != shape:
            raise CorruptRow(f"{path.name}: clip {shape.clip_id} is not as it was written")
