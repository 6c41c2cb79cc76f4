"""A dataset: what it is (`dataset.json`), what was planned, what is committed, and what is left to do.

Everything said here is computed from what is committed: plans, and the markers of shards. The newest record of a clip
counts, by the number of its plan; a clip that was withdrawn is withdrawn from the moment its tombstone is there,
whatever a marker still says.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Outcome, Record
from kinetics_pipeline.shards.markers import SHARD_NAME, Marker, Tombstone, parse_marker, parse_tombstone, without_rows
from kinetics_pipeline.shards.schema import SCHEMA_VERSION, SUFFIX, require_readable
from kinetics_pipeline.shards.storage import Store, open_store
from kinetics_pipeline.shards.writer import marker_name, versions

DATASET = "dataset.json"
_PLAN = re.compile(r"plans/(\d{5,})\.parquet")
_MARKER = re.compile(rf"shards/{SHARD_NAME.pattern}\.json")
TOMBSTONES = "state/withdrawn"
_READERS = 16
_AHEAD = 256
T = TypeVar("T")


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
    """Of the data files."""


def plan_name(number: int) -> str:
    return f"{number:05d}"


class Dataset:
    """A dataset that exists: `open` one, or `create` it. Plain data: it is pickled to the workers."""

    def __init__(self, store: Store, recipe: Recipe, classes: Sequence[str], annotations: Mapping[str, str]) -> None:
        self.store = store
        self.recipe = recipe
        self.classes = list(classes)
        """Labels; their positions are the class numbers."""
        self.annotations = dict(annotations)
        """SHA-256 by file name of the annotations the dataset was begun with."""

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Dataset:
        """Raises UserError where there is no dataset or a newer one, JobFailed for a damaged `dataset.json`."""
        store = open_store(uri)
        try:
            data = store.read(DATASET)
        except FileNotFoundError:
            raise UserError(f"{store.uri} is no dataset: it has no {DATASET}") from None
        try:
            document = json.loads(data)
            version = document["schema_version"]
        except (ValueError, TypeError, KeyError):
            raise JobFailed(f"{store.uri}/{DATASET} is damaged: it says no schema version") from None
        require_readable(version, f"{store.uri}/{DATASET}")
        try:
            recipe = Recipe.from_json(document["recipe"])
            return cls(store, recipe, [str(label) for label in document["classes"]], document["annotations"])
        except (ValueError, TypeError, KeyError, AttributeError, UserError) as e:
            raise JobFailed(f"{store.uri}/{DATASET} is damaged: {' '.join(str(e).split())}") from None

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
            raise UserError(f"{store.uri} is no dataset and not empty: it has {strange[0]}; give another --output")
        document = {
            "schema_version": SCHEMA_VERSION,
            "recipe": recipe.to_json(),
            "classes": list(classes),
            "annotations": dict(annotations),
            "created_by": versions()["kinetics-pipeline"],
        }
        if not store.create_exclusive(DATASET, json.dumps(document, indent=1, ensure_ascii=False).encode()):
            raise UserError(f"{store.uri} is a dataset already: another build has just begun it")
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
        """Raises UserError that names the first label which is no class of the dataset."""
        known = set(self.classes)
        for label in labels:
            if label not in known:
                raise UserError(
                    f"label {label!r} is none of this dataset's {len(known)} classes, which are fixed since it was "
                    "begun: give a --labels file at the start, or another --output"
                )

    # Plans

    def plan_numbers(self) -> list[int]:
        return sorted(int(m[1]) for name, _ in self.store.list("plans") if (m := _PLAN.fullmatch(name)))

    def plan(self, number: int) -> Plan:
        """Raises JobFailed for a plan file that is damaged."""
        name = f"plans/{plan_name(number)}.parquet"
        try:
            return Plan.from_parquet_bytes(self.store.read(name))
        except ValueError as e:
            raise JobFailed(f"{self.store.uri}/{name} is damaged: {' '.join(str(e).split())}") from None

    def plans(self) -> dict[int, Plan]:
        """By number, in order."""
        return {number: self.plan(number) for number in self.plan_numbers()}

    def add_plan(self, plan: Plan) -> int:
        """Freezes the plan of a run, before the run starts; its number. Only for who holds the lease."""
        number = max(self.plan_numbers(), default=-1) + 1
        if not self.store.create_exclusive(f"plans/{plan_name(number)}.parquet", plan.to_parquet_bytes()):
            raise JobFailed(f"{self.store.uri}: another build has just written plan {plan_name(number)}")
        return number

    def next_shard_numbers(self) -> dict[str, int]:
        """The first free shard number of each split, over plans and markers; a split that is new has 0."""
        names = [shard for plan in self.plans().values() for shard in _shards(plan)]
        names += [name.removeprefix("shards/").removesuffix(".json") for name in self.marker_names()]
        following: dict[str, int] = {}
        for name in names:
            split, number = name.rsplit("-", 1)
            following[split] = max(following.get(split, 0), int(number) + 1)
        return following

    def unfinished(self) -> tuple[int, Plan, list[str]] | None:
        """The oldest plan with shards that are not committed: its number, itself, their names. None when all are."""
        committed = set(self.marker_names())
        for number, plan in self.plans().items():
            if missing := [name for name in _shards(plan) if marker_name(name) not in committed]:
                return number, plan, missing
        return None

    # What is committed

    def marker_names(self) -> list[str]:
        return [name for name, _ in self.store.list("shards") if _MARKER.fullmatch(name)]

    def markers(self) -> Iterator[Marker]:
        """Every committed shard, by name, read in parallel. Raises JobFailed that names a damaged one."""
        names = self.marker_names()
        with ThreadPoolExecutor(_READERS) as readers:
            for first in range(0, len(names), _AHEAD):  # in portions: entries are large, and most callers keep little
                yield from readers.map(self._marker, names[first : first + _AHEAD])

    def _marker(self, name: str) -> Marker:
        return parse_marker(f"{self.store.uri}/{name}", self.store.read(name))

    def newest(self, extract: Callable[[Marker, dict[str, Any]], T]) -> dict[str, T]:
        """What `extract` makes of the newest entry of each clip, by clip_id."""
        withdrawn = self.withdrawn()
        plans: dict[str, int] = {}
        found: dict[str, T] = {}
        for marker in self.markers():
            for entry in marker.clips:
                clip_id = entry["clip_id"]
                if plans.get(clip_id, -1) <= marker.plan:
                    plans[clip_id] = marker.plan
                    reason = withdrawn.get(clip_id) or withdrawn.get(entry["video_id"])
                    if reason is not None and entry["outcome"] != "withdrawn":
                        entry = without_rows(entry, outcome="withdrawn", detail=reason)
                    found[clip_id] = extract(marker, entry)
        return found

    def records(self) -> dict[str, Record]:
        """The newest record of each clip that has one, by clip_id."""
        return self.newest(lambda _, entry: Record.from_json(entry))

    def outcomes(self) -> dict[str, Outcome]:
        """The newest outcome of each clip that has one, by clip_id."""
        return self.newest(lambda _, entry: entry["outcome"])

    def settled(self, asked: Mapping[str, str]) -> dict[str, Outcome]:
        """Of clips asked (video ids by clip_id) and of those recorded the outcomes; also of what was withdrawn before
        it was ever tried."""
        withdrawn = self.withdrawn()
        early: dict[str, Outcome] = {
            clip_id: "withdrawn" for clip_id, video in asked.items() if clip_id in withdrawn or video in withdrawn
        }
        return {**early, **self.outcomes()}

    def tombstones(self) -> list[Tombstone]:
        """Every withdrawal there was, in order. Raises JobFailed that names a damaged one."""
        return [
            parse_tombstone(f"{self.store.uri}/{name}", self.store.read(name))
            for name, _ in self.store.list(TOMBSTONES)
        ]

    def withdrawn(self) -> dict[str, str]:
        """Why each clip or video that was ever withdrawn was, by its id. A video's is that of all its clips."""
        return {id_: stone.reason for stone in self.tombstones() for id_ in stone.ids}

    def counts(self) -> Counts:
        """What `status` shows."""
        sizes = dict(self.store.list("shards"))
        shards = [name.removesuffix(".json") for name in self.marker_names()]
        tables = [plan.table for plan in self.plans().values()]
        asked = {
            clip_id: video
            for table in tables
            for clip_id, video in zip(table["clip_id"].to_pylist(), table["video_id"].to_pylist(), strict=True)
        }
        outcomes = self.settled(asked)
        failed = Counter(outcome for outcome in outcomes.values() if outcome != "ok")
        return Counts(
            clips=len(asked.keys() | outcomes.keys()),
            ok=len(outcomes) - failed.total(),
            pending=len(asked.keys() - outcomes.keys()),
            failed=dict(sorted(failed.items())),
            shards=len(shards),
            bytes=sum(sizes.get(shard + SUFFIX[self.recipe.layout], 0) for shard in shards),
        )


def _shards(plan: Plan) -> list[str]:
    return list(plan.table["shard"].unique().to_pylist())
