"""A dataset: what it is (`dataset.json`), what was planned, what is committed, and what is left to do.

Everything said here is computed from what is committed: plans, and the markers of shards. The newest record of a clip
counts, by the number of its plan; a clip that was withdrawn is withdrawn from the moment its tombstone is there,
whatever a marker still says.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.dataset.marker_index import read_markers, refresh_index
from kinetics_pipeline.dataset.newest import newest_entries
from kinetics_pipeline.dataset.plan_files import PLAN_COPIES, PlanFiles
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.plan import Plan, require_among
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Outcome, Record
from kinetics_pipeline.shards.markers import (
    SHARD_NAME,
    Marker,
    Tombstone,
    as_withdrawn,
    is_sealed,
    marker_name,
    parse_marker,
    parse_tombstone,
    sealed,
)
from kinetics_pipeline.shards.schema import require_readable, suffix_of, written_version
from kinetics_pipeline.shards.writer import versions
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store, StoredFile

DATASET = "dataset.json"
_COPY = f"state/{DATASET}"
_MARKER = re.compile(rf"shards/{SHARD_NAME.pattern}\.json")
TOMBSTONES = "state/withdrawn"
_TOMBSTONE = re.compile(rf"{TOMBSTONES}/\d{{5,}}\.json")
OUTCOME_COLUMNS = pa.schema([("clip_id", pa.string()), ("outcome", pa.string())])
_REASONS = OUTCOME_COLUMNS.append(pa.field("detail", pa.string()))
T = TypeVar("T")


class _Version(msgspec.Struct):
    schema_version: Any


class _Document(msgspec.Struct):
    """`dataset.json`."""

    recipe: dict[str, Any]
    classes: list[str]
    annotations: dict[str, str]
    digest: str | None = None


@dataclass(frozen=True)
class Counts:
    """How far a dataset is. clips = ok + pending + the sum of failed."""

    clips: int
    ok: int
    pending: int
    failed: dict[str, int]
    shards: int
    """Committed ones."""
    bytes: int
    """Bytes of the data files."""
    reasons: dict[tuple[str, str], int] = field(default_factory=dict)
    """Clips that failed, by outcome and detail."""


def _damaged(store: Store, problem: str) -> JobFailed:
    copy = f"; {store.uri}/{_COPY} is a copy of it" if store.exists(_COPY) else ""
    return JobFailed(f"{store.uri}/{DATASET} is damaged: {problem}{copy}")


def tombstone_file(number: int) -> str:
    return f"{TOMBSTONES}/{number:05d}.json"


class Dataset:
    """A dataset that exists: `open` one, or `create` it. Plain data: it is pickled to the workers."""

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        classes: Sequence[str],
        annotations: Mapping[str, str],
        schema_version: int | None = None,
    ) -> None:
        self.store = store
        self.recipe = recipe
        self.classes = list(classes)
        """Labels; their positions are the class numbers."""
        self.annotations = dict(annotations)
        """SHA-256 by file name of the annotations the dataset was begun with."""
        self.schema_version = schema_version or written_version(recipe.layout)
        """The one it was begun with: older shards may lie beside newer ones. Each says its own in its footer."""
        self._plans = PlanFiles(store)
        self._listed: list[StoredFile] | None = None
        self._newest: pa.Table | None = None
        self._listed_last: list[StoredFile] | None = None

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Dataset:
        """Raises UserError where there is no dataset or a newer one, JobFailed for a damaged `dataset.json`."""
        store = open_store(uri)
        try:
            data = store.read(DATASET)
        except FileNotFoundError:
            raise UserError(f"{store.uri} is not a dataset: it has no {DATASET}") from None
        try:
            version = msgspec.json.decode(data, type=_Version).schema_version
        except (UnicodeDecodeError, RecursionError, msgspec.DecodeError):
            raise _damaged(store, "it says no schema version") from None
        require_readable(version, f"{store.uri}/{DATASET}")
        try:
            document = msgspec.json.decode(data, type=_Document)
            if document.digest is not None and not is_sealed(data):  # the first datasets have none
                raise ValueError("it was changed after it was written")
            return cls(store, Recipe.from_json(document.recipe), document.classes, document.annotations, version)
        except (ValueError, TypeError, KeyError, UserError, RecursionError, msgspec.DecodeError) as e:
            raise _damaged(store, " ".join(str(e).split())) from None

    @classmethod
    def create(
        cls, uri: str | os.PathLike[str], recipe: Recipe, classes: Sequence[str], annotations: Mapping[str, str]
    ) -> Dataset:
        """Writes `dataset.json` into an empty or missing folder; `annotations` are SHA-256 by file name.

        Raises UserError when there is a dataset already, or something that is none (`state/` does not count: the lease
        is taken first), and where the place cannot be written.
        """
        store = open_store(uri)
        if DATASET in (there := store.top()):
            raise UserError(f"{store.uri} is a dataset already")
        if strange := sorted(set(there) - {"state"}):
            raise UserError(f"{store.uri} is not a dataset and not empty: it has {strange[0]}; give another --output")
        document = {
            "schema_version": written_version(recipe.layout),
            "recipe": recipe.to_json(),
            "classes": list(classes),
            "annotations": dict(annotations),
            "created_by": versions()["kinetics-pipeline"],
        }
        data = sealed(document)
        for name, _ in store.list(PLAN_COPIES):
            store.delete(name)  # of a dataset that was here before
        if not store.create(DATASET, data):
            raise UserError(f"{store.uri} is a dataset already: another build has just begun it")
        store.write(_COPY, data)
        return cls(store, recipe, classes, annotations)

    @classmethod
    def open_or_create(
        cls, uri: str | os.PathLike[str], recipe: Recipe, classes: Sequence[str], annotations: Mapping[str, str]
    ) -> Dataset:
        """The dataset, begun if there is none.

        Raises UserError for another recipe, and for a label that the dataset's class list does not hold.
        """
        if not open_store(uri).exists(DATASET):
            return cls.create(uri, recipe, classes, annotations)
        dataset = cls.open(uri)
        dataset.recipe.require_same(recipe)
        dataset.require_classes(classes)
        return dataset

    def require_classes(self, labels: Iterable[str]) -> None:
        """Raises UserError that names the first label which is not a class of the dataset."""
        known = set(self.classes)
        for label in labels:
            if label not in known:
                raise UserError(
                    f"label {label!r} is none of this dataset's {len(known)} classes, which are fixed since it was "
                    "begun: give a --labels file at the start, or another --output"
                )

    # Plans

    def plan_numbers(self) -> list[int]:
        return self._plans.numbers()

    def plan_copies(self) -> list[int]:
        return self._plans.copies()

    def plan(self, number: int) -> Plan:
        """Raises JobFailed for a plan file that is damaged."""
        return self._plans.plan(number)

    def planned_shards(self) -> dict[int, list[str]]:
        """The names of the shards of every plan, both in order."""
        return self._plans.shards()

    def plan_columns(self, names: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """These columns of every plan, in order, with its number. Raises JobFailed for a plan file that is damaged."""
        return self._plans.columns(names)

    def plans(self) -> dict[int, Plan]:
        """The plans by number, in order."""
        return {number: self.plan(number) for number in self.plan_numbers()}

    def add_plan(self, plan: Plan) -> int:
        """Freezes the plan of a run, before the run starts; its number. Only for the holder of the lease.

        Raises WorkRemains when another build has planned meanwhile: no plan is overwritten, and none names a shard of
        another.
        """
        return self._plans.add(plan, self.planned_shards())

    def complete_copies(self) -> None:
        """Writes the copies of `dataset.json` and of plans that a killed build did not come to write, or that the first
        datasets lack. Only for the holder of the lease. Raises JobFailed for a plan that is damaged."""
        if not self.store.exists(_COPY):
            self.store.write(_COPY, self.store.read(DATASET))
        self._plans.complete_copies()

    def plan_as_written(self, number: int) -> bytes | None:
        """The bytes of a plan's file by its copy; None when there is none, as in older datasets. Raises JobFailed when
        the copy is damaged."""
        return self._plans.as_written(number)

    def next_shard_numbers(self) -> dict[str, int]:
        """The first free shard number of each split, over plans and markers; a split that is new has 0."""
        names = [shard for shards in self.planned_shards().values() for shard in shards]
        names += [name.removeprefix("shards/").removesuffix(".json") for name in self.marker_names()]
        following: dict[str, int] = {}
        for name in names:
            split, number = name.rsplit("-", 1)
            following[split] = max(following.get(split, 0), int(number) + 1)
        return following

    def unfinished(self) -> tuple[int, Plan, list[str]] | None:
        """The oldest plan with shards that are not committed: its number, itself, their names. None when all are."""
        committed = set(self.marker_names())
        for number, shards in self.planned_shards().items():
            if missing := [name for name in shards if marker_name(name) not in committed]:
                return number, self.plan(number), missing
        return None

    # What is committed

    @contextmanager
    def one_listing(self) -> Iterator[None]:
        """Within the block the shards are listed once, however much is asked: for the holder of the lease, while it
        commits nothing."""
        self._listed = self._listed_last = self.store.files("shards")
        try:
            yield
        finally:
            self._listed = None

    def _shard_files(self) -> list[StoredFile]:
        return self.store.files("shards") if self._listed is None else self._listed

    def marker_files(self) -> list[StoredFile]:
        return _only_markers(self._shard_files())

    def marker_names(self) -> list[str]:
        return [file.name for file in self.marker_files()]

    def markers(self, files: Sequence[StoredFile] | None = None) -> Iterator[Marker]:
        """Every committed shard (of `files`, where a listing is known), by name. Raises JobFailed that names a damaged
        one."""
        for file, data in read_markers(self.store, self.marker_files() if files is None else files):
            yield parse_marker(f"{self.store.uri}/{file.name}", data)

    def some_markers(self, most: int) -> Iterator[Marker]:
        """Up to so many committed shards from all over the dataset, of the newest listing there is: for estimates."""
        files = self.marker_files() if self._listed_last is None else _only_markers(self._listed_last)
        return self.markers(files[:: max(1, -(-len(files) // most))])

    def refresh_index(self) -> None:
        """See `marker_index`. Only for the holder of the lease."""
        refresh_index(self.store, self.marker_files())

    def _current(self) -> Iterator[Marker]:
        """The markers as they count: a clip that was withdrawn is withdrawn, whatever its marker says."""
        withdrawn = self.withdrawn()
        for marker in self.markers():
            clips = tuple(as_withdrawn(entry, withdrawn) for entry in marker.clips) if withdrawn else marker.clips
            yield replace(marker, clips=clips)

    def newest(self, extract: Callable[[Marker, dict[str, Any]], T]) -> dict[str, T]:
        """What `extract` makes of the newest entry of each clip, by clip_id."""
        plans: dict[str, int] = {}
        found: dict[str, T] = {}
        for marker in self._current():
            for entry in marker.clips:
                clip_id = entry["clip_id"]
                if plans.get(clip_id, -1) <= marker.plan:
                    plans[clip_id] = marker.plan
                    found[clip_id] = extract(marker, entry)
        return found

    @contextmanager
    def one_reading(self, schema: pa.Schema, seen: Callable[[Marker], object]) -> Iterator[pa.Table]:
        """Within the block the shards are listed and their markers read once, into the table that it gives, however
        much is asked of `newest_table` with columns of `schema`. `seen` is told every marker. See `one_listing`."""
        with self.one_listing():
            self._newest = self.newest_table(schema, seen=seen)
            try:
                yield self._newest
            finally:
                self._newest = None

    def newest_table(
        self, schema: pa.Schema, outcome: Outcome | None = None, seen: Callable[[Marker], object] = lambda marker: None
    ) -> pa.Table:
        """See `newest_entries`: for many clips, where `newest` would take ten times the memory. `seen` is told every
        marker that is read."""
        known = self._newest
        if known is not None and set(schema) <= set(known.schema):
            chosen = known if outcome is None else known.filter(pc.equal(known["outcome"], outcome))
            return chosen.select(schema.names)
        return newest_entries(self._current(), schema, outcome, seen)

    def records(self) -> dict[str, Record]:
        """The newest record of each clip that has one, by clip_id."""
        return self.newest(lambda _, entry: Record.from_json(entry))

    def outcomes(self) -> dict[str, Outcome]:
        """The newest outcome of each clip that has one, by clip_id."""
        table = self.newest_table(OUTCOME_COLUMNS)
        return dict(zip(table["clip_id"].to_pylist(), map(sys.intern, table["outcome"].to_pylist()), strict=True))

    def settled(self, asked: Iterable[tuple[str, str]]) -> dict[str, Outcome]:
        """The recorded outcomes of the clips asked (each clip_id with its video id); also of what was withdrawn before
        it was ever tried."""
        withdrawn = self.withdrawn()
        outcomes = self.outcomes()
        for clip_id, video in asked if withdrawn else ():
            if clip_id in withdrawn or video in withdrawn:
                outcomes.setdefault(clip_id, "withdrawn")
        return outcomes

    def tombstones(self) -> list[Tombstone]:
        """Every withdrawal there was, in order. Raises JobFailed that names a damaged one."""
        names = self.tombstone_names()
        return [parse_tombstone(f"{self.store.uri}/{name}", self.store.read(name)) for name in names]

    def tombstone_names(self) -> list[str]:
        return [name for name, _ in self.store.list(TOMBSTONES) if _TOMBSTONE.fullmatch(name)]

    def withdrawn(self) -> dict[str, str]:
        """Why each clip or video that was ever withdrawn was, by its id. A video's is that of all its clips."""
        return {id_: stone.reason for stone in self.tombstones() for id_ in stone.ids}

    def open_plan_columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of every plan with shards that are not committed."""
        return self._plans.open_columns(names, frozenset(self.marker_names()))

    def counts(self) -> Counts:
        """What `status` shows."""
        listed = self._shard_files()
        sizes, markers = {file.name: file.size for file in listed}, _only_markers(listed)
        shards = [file.name.removesuffix(".json") for file in markers]
        recorded = self.newest_table(_REASONS)
        reasons = recorded.group_by(["outcome", "detail"]).aggregate([([], "count_all")]).to_pylist()
        outcomes = Counter[str]()
        for one in reasons:
            outcomes[one["outcome"]] += one["count_all"]
        waiting = self._plans.without_record(recorded["clip_id"], sizes)
        gone = pa.array(list(self.withdrawn()), pa.string())
        early = pc.or_(pc.is_in(waiting["clip_id"], gone), pc.is_in(waiting["video_id"], gone))
        if withdrawn := pc.sum(early).as_py():
            outcomes["withdrawn"] += withdrawn
        return Counts(
            clips=len(recorded) + len(waiting),
            ok=outcomes.pop("ok", 0),
            pending=len(waiting) - (withdrawn or 0),
            failed=dict(sorted(outcomes.items())),
            shards=len(shards),
            bytes=sum(sizes.get(shard + suffix_of(self.recipe.layout), 0) for shard in shards),
            reasons={(r["outcome"], r["detail"] or ""): r["count_all"] for r in reasons if r["outcome"] != "ok"},
        )


def _only_markers(files: Sequence[StoredFile]) -> list[StoredFile]:
    return [file for file in files if _MARKER.fullmatch(file.name)]


def require_among_classes(dataset: Dataset, chosen: Iterable[str]) -> None:
    """Raises UserError that names the first of the chosen classes that the dataset does not have, and those it has."""
    require_among("class", chosen, dataset.classes, dataset.store.uri)
