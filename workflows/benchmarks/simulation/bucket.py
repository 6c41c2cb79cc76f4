"""The service behind `ObjectStore`: a bucket whose network loses, repeats and delays, and in which writers die."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError

from kinetics_pipeline.workflows.benchmarks.simulation.world import BEGAN, Process, World

TRIES = 4
"""Times that a client sends a request before it gives up (obstore's retries)."""
Fault = Literal["", "old lease", "marker first", "lost forget", "stale writer", "no sweep"]
"""What is planted: a store that creates by HEAD and PUT, as pyarrow's did; a data file that arrives after its marker; a
withdrawal that is confirmed and not kept; a store that overwrites what it is asked to create, under a writer that does
not look at the lease; a folder from which nobody removes what killed writers left."""


@dataclass(frozen=True)
class Rates:
    """How often things go wrong, for each request."""

    lost: float = 0.0
    """The request, or its answer: half each."""
    late: float = 0.0
    """Share of lost writes that arrive after all, up to two minutes later."""
    slow: float = 0.0
    """It takes up to half a minute."""
    deadly: float = 0.0
    """A write during which its process is killed."""


@dataclass
class Stored:
    """An object."""

    data: bytes
    etag: str
    modified: datetime


@dataclass
class Bucket:
    """All objects, and who is told when one changes."""

    world: World
    rates: Rates
    planted: Fault = ""
    objects: dict[str, Stored] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    """What was put by requests whose answer nobody heard: it may come after what they put was removed."""
    changes: int = 0
    watch: Callable[[str, bytes | None, bytes | None, bool], None] = lambda name, before, after, careful: None
    """Told the name, what was there and what is there now, None for nothing; and whether only that was to be replaced
    which was there."""
    killer: Callable[[Process], None] = lambda process: None

    def put(self, name: str, data: bytes, mode: Any) -> dict[str, Any]:
        there = self.objects.get(name)
        if self.planted == "stale writer" and name.startswith("shards/"):
            mode = None
        if mode == "create" and there is not None:
            raise AlreadyExistsError(f"{name}: 412")
        if isinstance(mode, dict) and there is None:
            raise FileNotFoundError(name)
        if isinstance(mode, dict) and there is not None and there.etag != mode["e_tag"]:
            raise PreconditionError(f"{name}: 412")
        if self.planted == "lost forget" and name.startswith("state/withdrawn/"):
            return {"e_tag": "1"}
        self.changes += 1
        stored = Stored(data, str(self.changes), datetime.fromtimestamp(BEGAN + self.world.now, UTC))
        self.objects[name] = stored
        self.watch(name, None if there is None else there.data, data, isinstance(mode, dict))
        return {"e_tag": stored.etag}

    def delete(self, names: str | list[str]) -> None:
        for name in [names] if isinstance(names, str) else names:
            there = self.objects.pop(name, None)
            if there is not None:
                self.watch(name, there.data, None, False)

    def about(self, name: str) -> dict[str, Any]:
        try:
            stored = self.objects[name]
        except KeyError:
            raise FileNotFoundError(name) from None
        return {
            "path": name,
            "size": len(stored.data),
            "e_tag": stored.etag,
            "version": None,
            "last_modified": stored.modified,
        }

    def under(self, prefix: str | None) -> list[str]:
        return sorted(name for name in self.objects if prefix is None or name.startswith(f"{prefix}/"))


class Client:
    """What `ObjectClient` is to obstore, of one process."""

    def __init__(self, bucket: Bucket, process: Process) -> None:
        self.bucket, self.process = bucket, process
        self.world = bucket.world

    def call(self, function: str, *arguments: Any, long: bool = False, **options: Any) -> Any:
        """Behaves as `ObjectClient.call`. Raises as obstore does."""
        writes = function in ("put", "delete")
        if function == "put":
            data = bytes(arguments[1]) if not hasattr(arguments[1], "read_bytes") else arguments[1].read_bytes()
            arguments = (arguments[0], data)
        random, rates = self.world.random, self.bucket.rates
        for _ in range(TRIES):
            dies = writes and random.random() < rates.deadly
            lost = random.random() < rates.lost
            arrives = not lost or random.random() < 0.5
            self.world.sleep(self._latency())
            if self.process.machine.cut_off_until > self.world.now:
                self.world.sleep(min(30.0, self.process.machine.cut_off_until - self.world.now))
                arrives, lost = False, True
            if dies:
                self._die(function, arguments, options, arrives=random.random() < 0.5)
            if not arrives and writes and random.random() < rates.late:
                self.world.at(random.uniform(1.0, 120.0), lambda: self._too_late(function, arguments, options))
            if not arrives:
                self.world.sleep(1.0)
                continue
            try:
                answer: Any = self.carry_out(function, arguments, options)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as refused:
                answer = refused
            self.world.sleep(self._latency())
            if lost:
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise GenericError("the store did not answer")

    def _latency(self) -> float:
        random = self.world.random
        return random.uniform(0.0, 30.0) if random.random() < self.bucket.rates.slow else random.expovariate(20.0)

    def _die(self, function: str, arguments: Any, options: Mapping[str, Any], *, arrives: bool) -> None:
        if arrives:
            self._too_late(function, arguments, options)
        elif self.world.random.random() < self.bucket.rates.late:
            self.world.at(self.world.random.uniform(1.0, 120.0), lambda: self._too_late(function, arguments, options))
        self.bucket.killer(self.process)
        self.world.sleep(0.0)

    def _too_late(self, function: str, arguments: Any, options: Mapping[str, Any]) -> None:
        """Carries a request out whose answer nobody hears."""
        if function == "put":
            self.bucket.late.add(arguments[0])
        try:
            self.carry_out(function, arguments, options, waits=False)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return

    def carry_out(self, function: str, arguments: Any, options: Mapping[str, Any], *, waits: bool = True) -> Any:
        bucket = self.bucket
        if function == "put":
            name, data = arguments
            mode = options.get("mode")
            if bucket.planted == "old lease" and mode == "create" and waits:
                if name in bucket.objects:
                    raise AlreadyExistsError(f"{name}: it is there")
                self.world.sleep(self._latency())
                mode = None
            if bucket.planted == "marker first" and name.startswith("shards/") and not name.endswith(".json") and waits:
                self.world.at(self.world.random.uniform(0.0, 5.0), lambda: self._too_late(function, arguments, options))
                return {"e_tag": "0"}
            return bucket.put(name, data, mode)
        if function == "delete":
            return bucket.delete(arguments[0])
        if function == "get":
            about = bucket.about(arguments[0])
            return bucket.objects[arguments[0]].data, about
        if function == "get_range":
            start, length = options["start"], options["length"]
            bucket.about(arguments[0])
            return bucket.objects[arguments[0]].data[start : start + length]
        if function == "head":
            return bucket.about(arguments[0])
        if function == "list":
            return [bucket.about(name) for name in bucket.under(arguments[0])]
        if function == "list_with_delimiter":
            folders = sorted({name.partition("/")[0] for name in bucket.objects if "/" in name})
            return {
                "common_prefixes": folders,
                "objects": [bucket.about(name) for name in bucket.under(None) if "/" not in name],
            }
        raise NotImplementedError(function)
