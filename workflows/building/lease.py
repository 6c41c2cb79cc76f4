"""The lease of a dataset: one build at a time, and a generation number that lets nobody else commit.

`state/lease/{generation:08d}.json` is made with "create only if absent", so of two builds that start together one
gets the generation. The newest generation is the current one. Its holder renews it; it is over when it says so, when
it has not been renewed for `STALE_AFTER`, or when its process is gone from this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import psutil

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.store import Store

RENEW_EVERY = 10.0
STALE_AFTER = 60.0
FOLDER = "state/lease/"


_LEASE = re.compile(rf"{FOLDER}(\d{{8,18}})\.json")


class _Document(TypedDict):
    generation: int
    host: str
    boot: str
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    process_started: float
    since: Annotated[float, msgspec.Meta(ge=0, le=2**32)]
    renewed: Annotated[float, msgspec.Meta(ge=0, le=2**32)]
    released: bool


def _name(generation: int) -> str:
    return f"{FOLDER}{generation:08d}.json"


def _boot() -> str:
    """What tells this boot of this machine, and this container, from another: where process ids mean the same."""
    boot_id, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot_id.exists() and processes.exists():
        return f"{boot_id.read_text().strip()} {processes.stat().st_ino}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def generations(store: Store) -> list[int]:
    return sorted(int(match[1]) for name, _ in store.list(FOLDER) if (match := _LEASE.fullmatch(name)))


def is_current(store: Store, generation: int) -> bool:
    """Whether no later build has taken over: asked by a stage just before it commits."""
    return max(generations(store), default=0) == generation


def holder(store: Store) -> dict[str, Any] | None:
    """Who holds the lease now: {"host", "pid", "renewed", ...}; None when nobody does."""
    for generation in reversed(generations(store)):
        # One that is damaged holds nothing; its generation still counts.
        with contextlib.suppress(FileNotFoundError, RecursionError, UnicodeDecodeError, msgspec.DecodeError):
            lease = msgspec.json.decode(store.read(_name(generation)), type=_Document)
            return dict(lease) if _alive(lease) else None
    return None


def _alive(lease: _Document) -> bool:
    if lease["released"]:
        return False
    if lease["boot"] == _boot():
        try:
            process = psutil.Process(lease["pid"])
            if process.status() == psutil.STATUS_ZOMBIE:  # killed, and nobody has asked for its exit code (yet)
                return False
            return abs(process.create_time() - lease["process_started"]) < 2
        except psutil.NoSuchProcess:
            return False
    return time.time() - lease["renewed"] < STALE_AFTER


class Lease:
    """The right to build, held from `acquire` to `release` and renewed by a thread in between."""

    def __init__(self, store: Store, document: dict[str, Any]) -> None:
        self.store = store
        self.generation: int = document["generation"]
        self.document = document
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls, store: Store) -> Lease:
        """Raises UserError, one line, when another build holds the dataset."""
        if (other := holder(store)) is not None:
            raise UserError(
                f"{store.uri} is being built by process {other['pid']} on {other['host']} "
                f"(since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(other['since']))}); one build at a time"
            )
        generation = max(generations(store), default=0) + 1
        document = {
            "generation": generation,
            "host": socket.gethostname(),
            "boot": _boot(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "since": time.time(),
            "renewed": time.time(),
            "released": False,
        }
        if not store.create(_name(generation), json.dumps(document).encode()):
            raise UserError(f"{store.uri} is being built by a command that started a moment ago; one build at a time")
        for old in generations(store):
            if old < generation - 1:
                store.delete(_name(old))
        return cls(store, document)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_EVERY):
            # A store that does not answer for a moment is no reason to stop: the lease lasts several renewals.
            with contextlib.suppress(OSError, UserError):
                self._write()

    def _write(self) -> None:
        self.document["renewed"] = time.time()
        self.store.write(_name(self.generation), json.dumps(self.document).encode())

    def release(self) -> None:
        self._done.set()
        self._thread.join(timeout=RENEW_EVERY)
        self.document["released"] = True
        self._write()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
