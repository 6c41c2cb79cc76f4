"""The rows of a clip as a token, so that a shard's data file is a few bytes, and what is right can be told at a glance.

`replaced` puts functions that do this in the place of those that read and write rows, and simulated things in the place
of clocks and threads that the shipped code would start; and it remembers what pure functions of plans returned, which
would otherwise take most of the time.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from kinetics_pipeline.annotations.columns import outcome_table
from kinetics_pipeline.dataset import dataset as dataset_module
from kinetics_pipeline.dataset import marker_index as index_module
from kinetics_pipeline.dataset import plan_files
from kinetics_pipeline.dataset import withdraw as withdraw_module
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.plan import Plan, PlannedShard, PlanSettings, make_plan, read_columns
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards import writer as writer_module
from kinetics_pipeline.shards.clip_rows import CorruptRow
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building import dataset_build as build_module


def token(clip_id: str) -> bytes:
    """What a clip's rows are: a line of its own."""
    return f"rows of {clip_id}\n".encode()


def content(clip_id: str) -> str:
    return hashlib.sha256(token(clip_id)).hexdigest()[:16]


def _write_rows(
    path: Path, clips: Iterable[tuple[Record, bytes]], split: str, recipe: Recipe, classes: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    entries, written = [], []
    with path.open("wb") as out:
        for record, payload in clips:
            entry = record.to_json()
            if record.outcome == "ok":
                out.write(payload)
                written.append(record.clip_id)
                entry |= {"rows": 1, "height": 1, "width": 1, "content": content(record.clip_id)}
            entries.append(entry)
    return entries, written


def _rewrite(to: Path, path: Path, split: str, survivors: Sequence[Mapping[str, Any]], dataset: Dataset) -> None:
    there = path.read_bytes()
    for entry in survivors:
        if token(entry["clip_id"]) not in there:
            raise CorruptRow(f"{path.name} lacks {entry['clip_id']}")
    to.write_bytes(b"".join(token(entry["clip_id"]) for entry in survivors))


class _Serial:
    """A ThreadPoolExecutor that does everything in the thread that asks."""

    def __init__(self, threads: int) -> None:
        pass

    def __enter__(self) -> _Serial:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        return map(function, values)


@functools.cache
def _columns(data: bytes, names: tuple[str, ...] | None) -> Any:
    return read_columns(data, names)


def _cached_columns(data: bytes | memoryview, names: Sequence[str] | None = None) -> Any:
    return _columns(bytes(data), None if names is None else tuple(names))


_plans: dict[Any, tuple[pa.Table, Plan]] = {}
"""Plans beside what was asked, which must live on for its id to remain its own."""
_shards: dict[int, tuple[Plan, list[PlannedShard]]] = {}
_bytes: dict[int, tuple[Plan, bytes]] = {}
_shards_of, _bytes_of = Plan.shards, Plan.to_parquet_bytes


def _cached_plan(
    asked: pa.Table,
    *,
    outcomes: Mapping[str, str] | pa.Table,
    settings: PlanSettings,
    held_locally: Callable[..., Any],
    next_shard: Mapping[str, int],
) -> Plan:
    known = frozenset(zip(*outcome_table(outcomes).select(["clip_id", "outcome"]).to_pydict().values(), strict=True))
    key = (id(asked), known, settings.clips_per_shard, frozenset(next_shard.items()))
    if key not in _plans:
        plan = make_plan(asked, outcomes=outcomes, settings=settings, held_locally=held_locally, next_shard=next_shard)
        _plans[key] = asked, plan
    return _plans[key][1]


def _cached_shards(
    plan: Plan, names: Collection[str] | None = None, *, local: bool | None = None
) -> Iterator[PlannedShard]:
    if (found := _shards.get(id(plan.table))) is None:
        found = _shards[id(plan.table)] = (plan, list(_shards_of(plan)))
    return (one for one in found[1] if (names is None or one.name in names) and local in (None, one.local))


def _cached_bytes(plan: Plan) -> bytes:
    if (found := _bytes.get(id(plan.table))) is None:
        found = _bytes[id(plan.table)] = (plan, _bytes_of(plan))
    return found[1]


@contextmanager
def replaced(store_of_this_process: Callable[[str], Store]) -> Iterator[None]:
    """Within the block the shipped code handles tokens, and opens the stores that the simulation gives it."""
    with ExitStack() as stack:
        for target, name, value in (
            (writer_module, "_write_rows", _write_rows),
            (writer_module, "verify_data_file", lambda *arguments: None),
            (withdraw_module, "_write", _rewrite),
            (index_module, "ThreadPoolExecutor", _Serial),
            (dataset_module, "open_store", store_of_this_process),
            (plan_files, "read_columns", _cached_columns),
            (build_module, "make_plan", _cached_plan),
            (Plan, "shards", _cached_shards),
            (Plan, "to_parquet_bytes", _cached_bytes),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield
