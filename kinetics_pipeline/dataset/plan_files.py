"""The files of a dataset's plans: frozen when they are written, and each with a copy that `repair` restores it from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.errors import JobFailed, WorkRemains
from kinetics_pipeline.plan import Plan, read_columns
from kinetics_pipeline.records import among
from kinetics_pipeline.shards.markers import marker_name
from kinetics_pipeline.storage.digest import with_digest, without_digest
from kinetics_pipeline.storage.store import Store

PLAN = re.compile(r"plans/(\d{5,})\.parquet")
PLAN_COPIES = "state/plans"
PLAN_COPY = re.compile(rf"{PLAN_COPIES}/(\d{{5,}})")


def plan_name(number: int) -> str:
    return f"{number:05d}"


def plan_file(number: int) -> str:
    return f"plans/{plan_name(number)}.parquet"


def plan_copy(number: int) -> str:
    """What `verify` holds a plan against and `repair` restores it from: what it says is nowhere else."""
    return f"{PLAN_COPIES}/{plan_name(number)}"


class PlanFiles:
    """The plans of one dataset. A file that was read is not read again while a listing shows the same version."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[int, tuple[str, bytes]] = {}
        self._shards: dict[int, tuple[str, list[str]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": {}, "_shards": {}}

    def numbers(self) -> list[int]:
        return list(self._versions())

    def copies(self) -> list[int]:
        return sorted(int(m[1]) for name, _ in self._store.list(PLAN_COPIES) if (m := PLAN_COPY.fullmatch(name)))

    def plan(self, number: int) -> Plan:
        """Raises JobFailed for a file that is damaged."""
        return Plan(self._columns(number, None))

    def columns(self, names: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """The number and these columns of every plan, in order. Raises JobFailed for a file that is damaged."""
        for number, version in self._versions().items():
            yield number, self._columns(number, names, version)

    def shards(self) -> dict[int, list[str]]:
        """The names of the shards of every plan, both in order. Raises JobFailed for a file that is damaged."""
        versions = self._versions()
        for number, version in versions.items():
            if self._shards.get(number, ("",))[0] != version:
                names = self._columns(number, ["shard"], version)["shard"].unique().to_pylist()
                self._shards[number] = version, names
        return {number: list(self._shards[number][1]) for number in versions}

    def open_columns(self, names: Sequence[str], committed: Collection[str]) -> Iterator[pa.Table]:
        """These columns of every plan with a shard whose marker is not `committed`; a committed shard has a record of
        each of its clips."""
        for number, shards in self.shards().items():
            if not all(marker_name(shard) in committed for shard in shards):
                yield self._columns(number, names, self._shards[number][0])

    def without_record(self, recorded: pa.ChunkedArray, committed: Collection[str]) -> pa.Table:
        """`clip_id` and `video_id` of the planned clips that are not in `recorded`; each once."""
        names = ["clip_id", "video_id"]
        plans = self.open_columns(names, committed)
        waiting = [table.filter(pc.invert(among(table["clip_id"], recorded))) for table in plans]
        nothing = pa.table({name: pa.array([], pa.string()) for name in names})
        return pa.concat_tables([nothing, *waiting]).group_by(names).aggregate([])

    def add(self, plan: Plan, planned: Mapping[int, Collection[str]]) -> int:
        """Writes the next plan; its number. `planned`: the shards of every plan there is. See `Dataset.add_plan`."""
        number = max(planned, default=-1) + 1
        data = plan.to_parquet_bytes()
        doubled = {name for names in planned.values() for name in names} & set(plan.shard_names())
        if doubled or not self._store.create(plan_file(number), data):
            raise WorkRemains(f"{self._store.uri}: another build has just written a plan; run the same command again")
        self._store.write(plan_copy(number), with_digest(data))
        return number

    def complete_copies(self) -> None:
        """See `Dataset.complete_copies`."""
        for number in sorted(set(self.numbers()) - set(self.copies())):
            self.plan(number)  # raises for a damaged one
            self._store.write(plan_copy(number), with_digest(self._store.read(plan_file(number))))

    def as_written(self, number: int) -> bytes | None:
        """See `Dataset.plan_as_written`."""
        name = plan_copy(number)
        try:
            written = without_digest(self._store.read(name))
        except FileNotFoundError:
            return None
        try:
            if written is None:
                raise ValueError("it was changed after it was written")
            read_columns(written, ["clip_id"])
        except ValueError as e:
            raise JobFailed(f"{self._store.uri}/{name} is damaged: {' '.join(str(e).split())}") from None
        return bytes(written)

    def _columns(self, number: int, names: Sequence[str] | None, version: str | None = None) -> pa.Table:
        """`version`: as a listing shows it; None reads the file in any case."""
        file = plan_file(number)
        if version is None or self._read.get(number, ("",))[0] != version:
            data, version = self._store.read_version(file)
            self._read[number] = version, data
        try:
            return read_columns(self._read[number][1], names)
        except ValueError as e:
            raise JobFailed(f"{self._store.uri}/{file} is damaged: {' '.join(str(e).split())}") from None

    def _versions(self) -> dict[int, str]:
        """The version of each plan's file by the plan's number, in order."""
        files = ((PLAN.fullmatch(file.name), file.version) for file in self._store.files("plans"))
        return dict(sorted((int(match[1]), version) for match, version in files if match))
