"""The lease of a dataset: one build at a time, on every store.

`state/lease/{number:08d}.json` is created only if absent, and the highest number holds. Whoever renews the lease or
takes it over creates the next number and then lists: a number that somebody else has, or a higher one, means that the
lease is lost. So it is never held twice, whatever the order of the messages.

A holder is dead when it says so, when its process is gone from this machine, or when a watcher has seen no new number
for a minute by the watcher's own monotonic clock. Another machine's time decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import psutil

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.storage.store import Store, StoredFile

RENEW_EVERY = 10.0
DEAD_AFTER = 60.0
"""Seconds without a new number."""
LOOK_EVERY = 2.0
REMOVED_AT_ONCE = 10
"""Earlier numbers: together they take one request."""
FOLDER = "state/lease"
_LEASE = re.compile(rf"{FOLDER}/(\d{{8,18}})\.json")


class LeaseHeld(WorkRemains):
    """Another command holds the dataset; this one may be run again when that has ended."""


class Holding(msgspec.Struct, frozen=True):
    """What a lease file says. Files of earlier versions were rewritten in place and have no token."""

    generation: int
    """The first number of this holder, by which it is known to those who commit for it."""
    host: str
    boot: str
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    process_started: float
    since: Annotated[float, msgspec.Meta(ge=0, le=2**32)]
    renewed: Annotated[float, msgspec.Meta(ge=0, le=2**32)]
    released: bool
    token: str = ""


@dataclass(frozen=True)
class Latest:
    """The file with the highest number."""

    number: int
    file: StoredFile
    holding: Holding | None
    """None when the file is damaged: it holds nothing, and its number still counts."""


@dataclass(frozen=True)
class Process:
    """A process as another process of the same machine finds it."""

    host: str
    boot: str
    """This boot of this machine, and the namespace in which process ids mean the same."""
    pid: int
    started: float

    @classmethod
    def this(cls) -> Process:
        boot_id, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
        if boot_id.exists() and processes.exists():
            boot = f"{boot_id.read_text().strip()} {processes.stat().st_ino}"
        else:
            boot = f"{socket.gethostname()} {psutil.boot_time():.0f}"
        return cls(socket.gethostname(), boot, os.getpid(), psutil.Process().create_time())


Running = Literal["running", "stopped", "gone", "unknown"]


def process_state(holding: Holding, here: Process) -> Running:
    """What this machine knows of the holder's process: `unknown` when it is another machine's."""
    if holding.boot != here.boot:
        return "unknown"
    try:
        process = psutil.Process(holding.pid)
        status = process.status()
        if status == psutil.STATUS_ZOMBIE or abs(process.create_time() - holding.process_started) >= 2:
            return "gone"  # a zombie was killed, and nobody has asked for its exit code (yet)
        return "stopped" if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP) else "running"
    except psutil.NoSuchProcess:
        return "gone"


@dataclass(frozen=True)
class Machine:
    """What a lease needs of the machine it runs on; a simulation gives its own."""

    process: Process = field(default_factory=Process.this)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    """Only written down, for people."""
    token: Callable[[], str] = lambda: uuid.uuid4().hex
    state_of: Callable[[Holding, Process], Running] = process_state


def latest(store: Store) -> Latest | None:
    """None where no lease was ever taken."""
    while True:
        found = [(int(match[1]), file) for file in store.files(FOLDER) if (match := _LEASE.fullmatch(file.name))]
        if not found:
            return None
        number, file = max(found)
        try:
            return Latest(number, file, msgspec.json.decode(store.read(file.name), type=Holding))
        except (RecursionError, UnicodeDecodeError, msgspec.DecodeError):
            return Latest(number, file, None)
        except FileNotFoundError:  # its holder has gone on since
            continue


def is_current(store: Store, generation: int) -> bool:
    """Whether no other command has taken over: asked by a stage just before it commits."""
    newest = latest(store)
    return newest is not None and newest.holding is not None and newest.holding.generation == generation


@dataclass(frozen=True)
class Condition:
    """What can be said of the last holder without waiting."""

    state: Literal["running", "silent", "ended"]
    holding: Holding
    silent_seconds: float
    """Since its last number, by the store's clock and this machine's; only for people."""


def condition(store: Store, machine: Machine | None = None) -> Condition | None:
    """None where no lease was ever taken, or the last one is damaged."""
    machine = machine or Machine()
    newest = latest(store)
    if newest is None or newest.holding is None:
        return None
    silent = max(0.0, machine.now() - newest.file.modified)
    process = machine.state_of(newest.holding, machine.process)
    if newest.holding.released or process == "gone":
        return Condition("ended", newest.holding, silent)
    quiet = silent > 3 * RENEW_EVERY or process == "stopped"
    return Condition("silent" if quiet else "running", newest.holding, silent)


def holder(store: Store) -> Holding | None:
    """Who holds the lease, as far as can be said without waiting; None when nobody does."""
    found = condition(store)
    return None if found is None or found.state == "ended" else found.holding


class Watch:
    """Finds out whether the lease is free. Called again and again, each time with a look at the store."""

    def __init__(self, store: Store, machine: Machine) -> None:
        self._store, self._machine = store, machine
        self._first: tuple[int, str] | None = None
        self._since = 0.0
        self.newest: Latest | None = None
        """What the last look found."""

    def look(self) -> Literal["free", "held", "unsure"]:
        newest = self.newest = latest(self._store)
        if newest is None or newest.holding is None or newest.holding.released:
            return "free"
        process = self._machine.state_of(newest.holding, self._machine.process)
        if process in ("gone", "running"):
            return "free" if process == "gone" else "held"
        seen = newest.number, newest.file.version  # an earlier version rewrites one file instead of numbering on
        if self._first is None:
            self._first, self._since = seen, self._machine.clock()
            return "unsure"
        if seen != self._first:
            return "held"
        return "free" if self._machine.clock() - self._since >= DEAD_AFTER else "unsure"


class Lease:
    """The right to change a dataset, from `acquire` to `release`; `renew` is called every `RENEW_EVERY` seconds."""

    def __init__(self, store: Store, holding: Holding, number: int, machine: Machine) -> None:
        self.store, self.holding, self.number = store, holding, number
        self.generation = holding.generation
        self.lost: str | None = None
        """Who has taken over, once it is known."""
        self._machine = machine
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def acquire(cls, store: Store, machine: Machine | None = None, *, renewing: bool = True) -> Lease:
        """Takes the lease, waiting up to a minute where it is not known whether its last holder still lives.

        A thread renews it, unless `renewing` is false. Raises LeaseHeld, one line, when another command holds it, and
        UserError where the store cannot decide between two.
        """
        machine = machine or Machine()
        store.require_conditions()
        watch, told = Watch(store, machine), False
        while (verdict := watch.look()) == "unsure":
            if not told:
                told = True
                _say(f"waiting up to {DEAD_AFTER:.0f} s to see whether {_who(watch.newest)} is still at work")
            machine.sleep(LOOK_EVERY)
        if verdict == "held":
            raise LeaseHeld(_held(store, watch.newest))
        lease = cls.take(store, watch.newest, machine)
        if lease is None:
            raise LeaseHeld(_held(store, latest(store)))
        if renewing:
            lease._thread = threading.Thread(target=lease._keep, name="lease", daemon=True)
            lease._thread.start()
        return lease

    @classmethod
    def take(cls, store: Store, newest: Latest | None, machine: Machine) -> Lease | None:
        """The lease after a `newest` one that is free; None when another command was faster."""
        number = 1 if newest is None else newest.number + 1
        if number >= 10**18:
            raise UserError(f"{store.uri}/{_name(number - 1)} has a number that no build gave it; remove the file")
        process, now = machine.process, machine.now()
        holding = Holding(
            number, process.host, process.boot, process.pid, process.started, now, now, False, machine.token()
        )
        lease = cls(store, holding, number - 1, machine)
        return lease if lease._number_on(holding) else None

    def renew(self) -> bool:
        """Whether the lease is still held; if not, `lost` says who holds it."""
        with self._lock:
            if self.lost is None and not self._number_on(self._renewed(released=False)):
                self.lost = _who(latest(self.store))
            return self.lost is None

    def require_held(self) -> None:
        """Raises LeaseHeld, which says who holds it now, when the lease is lost."""
        if self.lost is not None:
            raise LeaseHeld(
                f"this command was silent for too long, and {self.lost} has taken over {self.store.uri}; what was "
                "committed until then is kept: run the same command again when the other has ended"
            )

    def release(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=RENEW_EVERY)
        # Where the store does not answer, others find out by themselves.
        with contextlib.suppress(OSError, UserError):
            if self.lost is None:
                self._number_on(self._renewed(released=True), released=True)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _keep(self) -> None:
        while not self._done.wait(RENEW_EVERY):
            # A store that does not answer for a moment is not a reason to stop: the lease lasts several renewals.
            with contextlib.suppress(OSError, UserError):
                if not self.renew():
                    return

    def _renewed(self, *, released: bool) -> Holding:
        return msgspec.structs.replace(self.holding, renewed=self._machine.now(), released=released)

    def _number_on(self, holding: Holding, *, released: bool = False) -> bool:
        """Creates the next number, then lists; whether this holder has the highest one."""
        number = self.number + 1
        name = _name(number)
        if not self.store.create(name, msgspec.json.encode(holding)) and not self._is_mine(name):
            return False
        numbers = [int(match[1]) for name, _ in self.store.list(FOLDER) if (match := _LEASE.fullmatch(name))]
        if max(numbers, default=number) != number:
            self.store.delete(name)  # created after others had numbered on, and removed this number
            return False
        self.number, self.holding = number, holding
        old = [_name(other) for other in numbers if other < number - 1]
        if released or len(old) >= REMOVED_AT_ONCE:
            self.store.delete_many([*old, _name(number - 1)] if released else old)
        return True

    def _is_mine(self, name: str) -> bool:
        """Whether an earlier attempt, whose answer was lost, has created this number."""
        try:
            return msgspec.json.decode(self.store.read(name), type=Holding).token == self.holding.token
        except (FileNotFoundError, RecursionError, UnicodeDecodeError, msgspec.DecodeError):
            return False


def _name(number: int) -> str:
    return f"{FOLDER}/{number:08d}.json"


def _who(newest: Latest | None) -> str:
    if newest is None or newest.holding is None:
        return "another command"
    return f"process {newest.holding.pid} on {newest.holding.host}"


def _held(store: Store, newest: Latest | None) -> str:
    since = ""
    if newest is not None and newest.holding is not None:
        since = f" (since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(newest.holding.since))})"
    return (
        f"{store.uri} is being built by {_who(newest)}{since}; one build at a time: "
        "run the same command again when it has ended"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
