"""Holds what is committed against what its markers and plans say, shard by shard; names what is not so."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from kinetics_pipeline.dataset.dataset import Dataset, tombstone_file
from kinetics_pipeline.dataset.plan_files import plan_copy, plan_file, plan_name
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.shards.clip_rows import CorruptRow, Origin, check_rows, shape_of
from kinetics_pipeline.shards.data_file import data_name, open_data_file, read_footer, require_rows
from kinetics_pipeline.shards.markers import Marker, marker_name, parse_marker, parse_tombstone, shard_of
from kinetics_pipeline.shards.schema import recipe_of_footer, version_of
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.storage.store import StoreFailed, as_local_file, one_line_errors

_PORTION = 64
"""Shards handed out for each process at a time: few answers pile up, and one that dies takes few along."""
_ASKED = ("clip_id", "video_id", "time_start", "time_end", "label")
_WORTH_PROCESSES = 256 << 20
"""Bytes: reading fewer takes less time than starting processes."""


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was committed."""

    file: str
    """The file's name in the dataset."""
    problem: str
    shard: str | None = None
    clip_id: str | None = None
    """None when it is the whole file's."""
    unread: bool = False
    """It could not be had at all, which says nothing of what it holds: a store that fails, a right that is missing."""

    def __str__(self) -> str:
        text = f"{self.file}{'' if self.clip_id is None else f', clip {self.clip_id}'}: {self.problem}"
        return visible(text)


@dataclass(frozen=True)
class Planned:
    """What the plans say of a shard."""

    plan: int
    clip_ids: tuple[str, ...]
    asked: str
    """`_asked` of the clips."""


@dataclass(frozen=True)
class Findings:
    faults: list[Fault]
    shards: int
    """Committed ones."""
    clips: int
    """Clips that are ok by the markers that could be read."""
    bytes: int
    """Bytes of the data files that were checked."""
    pending: list[str]
    """Shards that a plan names and nobody has committed yet: no fault."""

    def bad_shards(self) -> list[str]:
        """The shards that are known to be bad; a file that could not be read may be sound."""
        return sorted({fault.shard for fault in self.faults if fault.shard is not None and not fault.unread})


def verify(dataset: Dataset, *, quick: bool = False, on_shard: Callable[[int], None] = lambda done: None) -> Findings:
    """Checks plans, markers and data files: sizes, and unless `quick` SHA-256, footers, every row and its CRCs.

    In as many processes as this one may use cores (in threads where there is little to read); `on_shard` hears how many
    shards are done.
    """
    sizes = dict(dataset.store.list("shards"))
    names = [name.removeprefix("shards/").removesuffix(".json") for name in dataset.marker_names()]
    numbers = sorted({*dataset.plan_numbers(), *dataset.plan_copies()})  # after the shards: a plan is there before them
    plans, faults = _plans(dataset, numbers)
    faults += _tombstones(dataset)
    missing: set[int] = set()
    clips = total = 0
    read = frozenset(planned.plan for planned in plans.values())
    by_shard = _sizes_by_shard(sizes)
    jobs = [_Job(dataset, shard, by_shard.get(shard, {}), plans.get(shard), read, quick) for shard in names]
    for done, checked in enumerate(_in_parallel(jobs, quick), start=1):
        faults += checked.faults
        clips, total = clips + checked.clips, total + checked.bytes
        on_shard(done)
        if checked.plan is not None and checked.plan not in {*numbers, *missing}:
            missing.add(checked.plan)
            faults.append(Fault(plan_file(checked.plan), f"missing, though shard {jobs[done - 1].shard} is of it"))
    known = set(names)
    return Findings(faults, len(names), clips, total, [shard for shard in plans if shard not in known])


def _plans(dataset: Dataset, numbers: Sequence[int]) -> tuple[dict[str, Planned], list[Fault]]:
    """What is planned, by shard, and the plans that cannot be read."""
    planned: dict[str, Planned] = {}
    faults: list[Fault] = []
    for number in numbers:
        written = None
        try:
            written = dataset.plan_as_written(number)
        except StoreFailed:
            raise
        except JobFailed as error:
            faults.append(Fault(plan_copy(number), _after_the_name(error)))
        try:
            plan = dataset.plan(number)
            if written is not None and dataset.store.read(plan_file(number)) != written:
                raise JobFailed("it was changed after it was written")
        except StoreFailed:
            raise
        except (JobFailed, FileNotFoundError) as error:
            problem = _after_the_name(error) if isinstance(error, JobFailed) else "missing, though its copy is there"
            faults.append(Fault(plan_file(number), problem))
            if written is None:
                continue
            plan = Plan.from_parquet_bytes(written)
        for shard, rows in clips_of_shards(plan):
            planned[shard] = Planned(number, tuple(row[0] for row in rows), _asked(rows))
    return planned, faults


def _tombstones(dataset: Dataset) -> list[Fault]:
    names = dataset.tombstone_names()
    faults = []
    for number, name in enumerate(names):
        wanted = tombstone_file(number)
        if name != wanted and wanted not in names:
            faults.append(Fault(wanted, "missing, though a later withdrawal is there"))
        try:
            parse_tombstone(name, dataset.store.read(name))
        except JobFailed as error:
            faults.append(Fault(name, _after_the_name(error)))
    return faults


def clips_of_shards(plan: Plan) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """What is asked of each shard's clips (`_ASKED`), in order."""
    columns = [plan.table[name].to_pylist() for name in ("shard", *_ASKED)]
    for shard, rows in groupby(zip(*columns, strict=True), key=itemgetter(0)):
        yield shard, [row[1:] for row in rows]


def _asked(rows: Iterable[tuple[Any, ...]]) -> str:
    """A digest of what is asked of clips."""
    texts = [
        (clip, video, None if start is None else float(start), None if end is None else float(end), label)
        for clip, video, start, end, label in rows
    ]
    return hashlib.sha256(msgspec.json.encode(texts)).hexdigest()


class QuickLook:
    """`verify --quick` for one who reads every marker anyway: `see` each of them, in any order, then ask `faults`."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        numbers = sorted({*dataset.plan_numbers(), *dataset.plan_copies()})
        self._plans, self._faults = _plans(dataset, numbers)
        self._faults += _tombstones(dataset)
        self._read = frozenset(planned.plan for planned in self._plans.values())
        self._sizes = _sizes_by_shard(dict(dataset.store.list("shards")))

    def see(self, marker: Marker) -> None:
        """Checks a marker that was read against its plan and its data file's size."""
        shard = marker.shard
        planned, sizes = self._plans.get(shard), self._sizes.get(shard, {})
        job = _Job(self._dataset, shard, sizes, planned, self._read, quick=True)
        if _look_at(job, marker).faults:
            self._faults += _check(job).faults

    def faults(self) -> list[Fault]:
        """What is wrong with plans, withdrawals and the shards that were seen."""
        return self._faults


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    shard: str
    sizes: dict[str, int]
    """Sizes of those of its data files that are there, by name."""
    planned: Planned | None
    plans_read: frozenset[int]
    quick: bool


@dataclass(frozen=True)
class _Checked:
    faults: list[Fault]
    clips: int = 0
    bytes: int = 0
    plan: int | None = None
    """The plan that the marker names, where that plan could not be read."""


def _sizes_by_shard(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, size in sizes.items():
        if not name.endswith(".json"):
            found[shard_of(name.removeprefix("shards/").rpartition(".")[0])][name] = size
    return found


def _in_parallel(jobs: Sequence[_Job], quick: bool) -> Iterator[_Checked]:
    """Checks the jobs, results in order. When a process dies over a file, that file is checked alone, to be named."""
    workers = max(1, min(len(jobs), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4))
    waiting = iter(jobs)
    in_threads = quick or sum(size for job in jobs for size in job.sizes.values()) < _WORTH_PROCESSES
    while batch := list(islice(waiting, workers * _PORTION)):
        pool: Executor
        if in_threads:
            pool = ThreadPoolExecutor(16)
        else:
            pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        with pool:
            futures = [pool.submit(_check, job) for job in batch]
            broken = []
            for job, future in zip(batch, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    broken.append(job)
        for job in broken:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                try:
                    yield alone.submit(_check, job).result()
                except BrokenProcessPool:
                    file = data_name(job.shard, job.dataset.recipe.layout)
                    yield _Checked([Fault(file, "reading it ends the process", job.shard)])


def _check(job: _Job) -> _Checked:
    checked = _look(job)
    if all(fault.unread for fault in checked.faults):
        return checked
    # By what is there now: a build or a withdrawal may have been at it since the files were listed.
    return _look(replace(job, sizes=_sizes_now(job.dataset, job.shard)))


def _sizes_now(dataset: Dataset, shard: str) -> dict[str, int]:
    sizes = {}
    with suppress(FileNotFoundError, UserError):
        marker = parse_marker(marker_name(shard), dataset.store.read(marker_name(shard)))
        file = data_name(marker.file, dataset.recipe.layout)
        with dataset.store.open_input(file) as source:
            sizes[file] = source.size()
    return sizes


def _look(job: _Job) -> _Checked:
    dataset, shard = job.dataset, job.shard
    name = marker_name(shard)
    try:
        data = dataset.store.read(name)
    except FileNotFoundError:
        return _Checked([])  # repaired or forgotten meanwhile
    except UserError as error:
        return _Checked([Fault(name, str(error), shard, unread=True)])
    try:
        marker = parse_marker(f"{dataset.store.uri}/{name}", data)
    except JobFailed as error:
        return _Checked([Fault(name, _after_the_name(error), shard)])
    return _look_at(job, marker)


def _look_at(job: _Job, marker: Marker) -> _Checked:
    dataset, shard = job.dataset, job.shard
    # A plan that cannot be read is a fault of its own, and none of its shards'.
    unread = job.planned is None and marker.plan not in job.plans_read
    faults = [] if unread else _against_plan(marker, job.planned)
    survivors = [entry for entry in marker.clips if entry["outcome"] == "ok"]
    if marker.sha256 is None:
        return _Checked(faults, plan=marker.plan if unread else None)
    file = data_name(marker.file, dataset.recipe.layout)
    size = job.sizes.get(file)
    if size is None:
        faults.append(Fault(file, "the data file is missing, though its marker is there", shard))
    elif size != marker.bytes:
        faults.append(Fault(file, f"{size} bytes where the marker says {marker.bytes}", shard))
    if size is not None and not job.quick:
        try:
            with (
                one_line_errors(f"read {dataset.store.uri}/{file}"),
                tempfile.TemporaryDirectory() as scratch,
                as_local_file(dataset.store, file, Path(scratch)) as path,
            ):
                faults += _against_marker(path, file, marker, survivors, dataset)
        except FileNotFoundError:
            faults.append(Fault(file, "it went while it was looked at", shard, unread=True))
        except UserError as error:
            faults.append(Fault(file, str(error), shard, unread=True))
    return _Checked(faults, len(survivors), size or 0, marker.plan if unread else None)


def _against_plan(marker: Marker, planned: Planned | None) -> list[Fault]:
    name = marker_name(marker.shard)
    if planned is None:
        return [Fault(name, f"it says plan {plan_name(marker.plan)}, which does not name it", marker.shard)]
    if planned.plan != marker.plan:
        problem = f"it says plan {plan_name(marker.plan)}, but plan {plan_name(planned.plan)} names it"
        return [Fault(name, problem, marker.shard)]
    listed = tuple(entry["clip_id"] for entry in marker.clips)
    if listed == planned.clip_ids:
        if _asked(map(itemgetter(*_ASKED), marker.clips)) == planned.asked:
            return []
        return [Fault(name, "it says another video, other times or labels of its clips than its plan", marker.shard)]
    odd = sorted(set(listed) ^ set(planned.clip_ids))
    problem = "its clips are not those of its plan" + (f": {', '.join(odd[:3])}" if odd else ", or in another order")
    return [Fault(name, problem, marker.shard)]


def _against_marker(
    path: Path, file: str, marker: Marker, survivors: Sequence[dict[str, Any]], dataset: Dataset
) -> list[Fault]:
    layout, shard = dataset.recipe.layout, marker.shard
    faults = []
    if (found := sha256_of(path)) != marker.sha256:
        faults.append(
            Fault(file, f"its SHA-256 is {found[:16]}..., the marker says {str(marker.sha256)[:16]}...", shard)
        )
    try:
        schema = read_footer(path, layout)
        if (version := version_of(schema, layout)) is None:  # whatever its rows are, they are none
            return [*faults, Fault(file, "its columns are not those of a shard", shard)]
        if problem := _footer_problem(schema.metadata or {}, path.name, version, dataset):
            faults.append(Fault(file, problem, shard))
        require_rows(path, layout, [entry["rows"] for entry in survivors])
        with open_data_file(path, layout) as read:
            for entry in survivors:
                try:
                    rows = read(entry["first_row"], entry["rows"], entry["position"])
                    check_rows(rows, layout)
                    _require_shape(rows, entry, marker.split, dataset)
                except CorruptRow as error:
                    faults.append(Fault(file, _without(str(error), path.name, entry), shard, entry["clip_id"]))
    except (CorruptRow, KeyError) as error:
        faults.append(Fault(file, _without(str(error), path.name, None), shard))
    return faults


def _footer_problem(metadata: Mapping[bytes, bytes], name: str, version: int, dataset: Dataset) -> str | None:
    try:
        if (told := metadata[b"schema_version"].decode(errors="replace")) != str(version):
            return f"its footer says schema version {told}, its columns are those of {version}"
        dataset.recipe.require_same(recipe_of_footer(metadata, name))
        if json.loads(metadata[b"classes"]) != dataset.classes:
            return "its footer has other classes than the dataset"
    except (UserError, KeyError, ValueError) as error:
        return f"its footer is not this dataset's: {error}"
    return None


def _require_shape(rows: Any, entry: Mapping[str, Any], split: str, dataset: Dataset) -> None:
    shape = shape_of(rows)
    label = dataset.classes.index(entry["label"]) if entry["label"] in dataset.classes else -1
    recorded = {
        "clip_id": entry["clip_id"],
        "label": label,
        **{k: entry[k] for k in ("frames", "height", "width", "content")},
    }
    for name, value in recorded.items():
        if getattr(shape, name) != value:
            raise CorruptRow(f"its rows say {name} {getattr(shape, name)}, the marker {value}")
    if shape.origin is not None and shape.origin != (told := Origin.of(entry, split)):
        raise CorruptRow(f"its rows say {shape.origin}, the marker {told}")


def _without(text: str, file: str, entry: Mapping[str, Any] | None) -> str:
    """A problem without the names that stand before it already."""
    text = text.removeprefix(f"{file}: ")
    return text if entry is None else text.removeprefix(f"clip {entry['clip_id']}, ").removeprefix("its ")


def _after_the_name(error: UserError) -> str:
    return str(error).partition(" is damaged: ")[2].removesuffix("; `verify` names what else is") or str(error)
