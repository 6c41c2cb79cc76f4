"""Commits a shard: its data file finished and checked on local disk, uploaded, and its marker last.

The data file holds nothing of the time, the machine or the run, so that the same clips give the same bytes, after
whatever interruption. The marker holds the rest.

Several may write one shard at a time (a build that was frozen, and one that took over), and not always the same bytes.
Nothing that a marker may vouch for is ever overwritten: the marker is created only if absent, which commits a shard
once; the data file is created only if absent, and where other bytes lie under its name, which their writer may yet
commit, it gets a name of its own until its marker is there. So does a file that is too large for the store to decide
between writers (5 GB): then its name alone says what it holds, and the one who committed it copies it.
"""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.clip_rows import CorruptRow, Origin, Shape, check_rows, rows_of, shape_of, with_origin
from kinetics_pipeline.shards.data_file import data_name, new_data_file, verify_data_file
from kinetics_pipeline.shards.markers import SHARD_NAME, marker_name, next_file, sealed
from kinetics_pipeline.shards.schema import suffix_of
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.storage.store import Store, as_local_file, one_line_errors

_PACKAGES = (
    "kinetics-pipeline",
    "av",
    "imageio-ffmpeg",
    "numba",
    "numpy",
    "opencv-contrib-python-headless",
    "pyarrow",
    "simplejpeg",
    "torch",
    "yt-dlp",
)


class Superseded(WorkRemains):
    """Another build has taken over the dataset: this one must not commit any more."""


def write_shard(
    store: Store,
    *,
    name: str,
    plan: str | tuple[str, int | None],
    clips: Iterable[tuple[Record, bytes]],
    recipe: Recipe,
    classes: Sequence[str],
    scratch: Path,
    still_current: Callable[[], bool],
) -> dict[str, Any]:
    """Commits shard `name` (`{split}-{number:05d}`) of `plan`, a name, or a name and `Plan.archive_group`; returns its
    marker.

    `clips` are all the clips of the shard in the plan's order, each with its payload (`b""` unless `ok`); they are
    gone through once, so a generator bounds the memory. `classes` is the dataset's list, whose positions are the
    labels of the rows. A shard that is already committed is left as it is and its marker returned.

    Raises Superseded when `still_current()` is false just before the upload or just before the marker, CorruptRow for
    a payload or a written file whose rows are not as they were made, UserError or JobFailed for what storage refuses.
    """
    if (named := SHARD_NAME.fullmatch(name)) is None:
        raise ValueError(f"{name!r} is not a shard name; allowed: split-00000")
    if store.exists(marker_name(name)):
        return _committed(store, name)
    with one_line_errors(f"make {scratch}"):
        scratch.mkdir(parents=True, exist_ok=True)
    unfinished = scratch / f"{name}.{uuid.uuid4().hex}{suffix_of(recipe.layout)}"
    try:
        with one_line_errors(f"write {unfinished}"):
            entries, shapes = _write_rows(unfinished, clips, named[1], recipe, classes)
        plan_name, archive_group = (plan, None) if isinstance(plan, str) else plan
        marker: dict[str, Any] = {"shard": name, "plan": plan_name, "bytes": 0, "sha256": None, "clips": entries}
        file = name
        if shapes:
            verify_data_file(unfinished, shapes, recipe, classes)
            marker["sha256"] = sha256_of(unfinished)
            marker["bytes"] = unfinished.stat().st_size
            _require_current(still_current, name)
            file = _upload(store, unfinished, name, marker["sha256"], recipe.layout)
        marker |= {"file": file} if file != name else {}
        marker |= {"archives": archive_group} if archive_group is not None else {}
        marker["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        marker["versions"] = versions()
        _require_current(still_current, name)
        created = store.create(marker_name(name), sealed(marker))
        committed = _committed(store, name)
        if not created and file not in (name, committed.get("file")):
            store.delete(data_name(file, recipe.layout))
        elif file != name:
            take_own_name(store, name, recipe.layout, scratch, unfinished)
        return committed
    finally:
        unfinished.unlink(missing_ok=True)


def _committed(store: Store, name: str) -> dict[str, Any]:
    return dict(json.loads(store.read(marker_name(name))))


def _upload(store: Store, finished: Path, shard: str, sha256: str, layout: Layout) -> str:
    """The name, without folder and suffix, under which the data file now lies."""
    if store.decides(finished.stat().st_size) and store.create_from(finished, data_name(shard, layout)):
        return shard
    file = next_file(shard, sha256)
    store.create_from(finished, data_name(file, layout))
    return file


def take_own_name(store: Store, shard: str, layout: Layout, scratch: Path, local: Path | None = None) -> bool:
    """Gives the data file of a committed shard the shard's own name, if it has another; and removes copies. `local`:
    the same file on this machine, where there is one.

    At every moment the marker names a file that is as it says. False when somebody else changes the shard meanwhile.
    """
    name, own = marker_name(shard), data_name(shard, layout)
    data, version = store.read_version(name)
    document = json.loads(data)
    file = document.pop("file", shard)
    if file == shard:
        return True
    there = store.version(own)
    with as_local_file(store, data_name(file, layout), scratch) if local is None else nullcontext(local) as path:
        done = store.create_from(path, own) if there is None else store.replace_from(path, own, there)
    if not done or not store.replace(name, sealed(document), version):
        return False
    store.delete(data_name(file, layout))
    return True


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
    path: Path, clips: Iterable[tuple[Record, bytes]], split: str, recipe: Recipe, classes: Sequence[str]
) -> tuple[list[dict[str, Any]], list[Shape]]:
    """The data file (only with a clip that is ok), the marker's entries, and the shapes of the clips written."""
    entries: list[dict[str, Any]] = []
    shapes: list[Shape] = []
    numbers = {label: number for number, label in enumerate(classes)}
    with ExitStack() as stack:
        append: Callable[[pa.RecordBatch], None] | None = None
        for record, payload in clips:
            entry = record.to_json()
            if record.outcome == "ok":
                encoded = rows_of(payload)
                check_rows(encoded, recipe.layout)
                rows = with_origin(encoded, Origin.of(entry, split), recipe.layout)
                shape = shape_of(rows)
                label = -1 if record.label is None else numbers.get(record.label, -1)
                if (shape.clip_id, shape.frames, shape.label) != (record.clip_id, record.frames, label):
                    raise CorruptRow(f"the rows of {shape} are not those of {record.clip_id}, label {label}")
                append = append or stack.enter_context(new_data_file(path, recipe, classes))
                append(rows)
                shapes.append(shape)
                entry |= {"rows": shape.rows, "height": shape.height, "width": shape.width, "content": shape.content}
            elif payload:
                raise ValueError(f"{record.clip_id} is {record.outcome}, yet has {len(payload)} bytes of rows")
            entries.append(entry)
    return entries, shapes
