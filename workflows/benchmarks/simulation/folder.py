"""A folder that all machines share, for `LocalStore`: calls of the system take time, fill the disk, and kill.

The files are real ones, in memory. What `LocalStore` asks of the operating system goes through `SharedFolder`, which
pauses there, so that other processes come in between, and tells the bucket's watcher of every file that appears,
changes or goes: what must hold is the same as in a bucket.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from kinetics_pipeline.storage import local
from kinetics_pipeline.workflows.benchmarks.simulation.bucket import Bucket, Stored
from kinetics_pipeline.workflows.benchmarks.simulation.world import BEGAN, Killed, Process


class SharedFolder:
    """What the operating system is to `kinetics_pipeline.storage.local`. Within `installed` it takes its place."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        """`bucket`: whose `objects` follow the files, and whose rates say how often things go wrong."""
        self.root, self.bucket, self.world = root, bucket, bucket.world
        self._locks: dict[str, tuple[int, Process]] = {}
        """Who holds the lock of a folder, and by which of its descriptors."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        functions = ("fsync", "replace", "link", "unlink", "scandir", "close")
        system = SimpleNamespace(**{name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
        for name in functions:
            setattr(system, name, getattr(self, f"_{name}"))
        locks = SimpleNamespace(flock=self._flock, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB)
        clock = SimpleNamespace(monotonic=lambda: self.world.now, sleep=self.world.sleep)
        with ExitStack() as stack:
            for name, value in (("os", system), ("fcntl", locks), ("time", clock)):
                stack.enter_context(patch.object(local, name, value))
            yield

    def stray(self) -> list[str]:
        """Files in the folder that are under a temporary name."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob(".*.tmp"))

    def _pause(self, *, writes: bool = True) -> Process | None:
        """Time passes, and the process may die. Raises Killed. None outside of the simulated time."""
        task, rates, random = self.world.current, self.bucket.rates, self.world.random
        if self.world.is_over or task is None:
            return None
        process = task.process
        if not process.is_alive:
            raise Killed
        if writes and random.random() < rates.deadly:
            self.bucket.killer(process)
        cut_off = max(0.0, process.machine.cut_off_until - self.world.now)
        late = random.uniform(0.0, 30.0) if random.random() < rates.slow else random.expovariate(200.0)
        self.world.sleep(cut_off + late)
        return process

    def _fsync(self, descriptor: int) -> None:
        self._pause()
        if self.world.random.random() < self.bucket.rates.lost / 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _replace(self, source: Path, to: Path) -> None:
        process = self._pause()
        os.replace(source, to)
        held = self._locks.get(str(to.parent))
        self._changed(to, careful=held is not None and held[1] is process)
        self._pause()

    def _link(self, source: Path, to: Path) -> None:
        self._pause()
        os.link(source, to)
        self._changed(to, careful=False)
        self._pause()

    def _unlink(self, path: Path) -> None:
        self._pause()
        os.unlink(path)
        self._changed(path, careful=False)

    def _scandir(self, folder: str | Path) -> Any:
        self._pause(writes=False)
        return os.scandir(folder)

    def _flock(self, descriptor: int, operation: int) -> None:
        self._pause(writes=False)
        folder = os.readlink(f"/proc/self/fd/{descriptor}")
        if folder in self._locks:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        assert self.world.current is not None
        self._locks[folder] = descriptor, self.world.current.process

    def _close(self, descriptor: int) -> None:
        self._locks = {folder: held for folder, held in self._locks.items() if held[0] != descriptor}
        os.close(descriptor)

    def _changed(self, path: Path, *, careful: bool) -> None:
        """Tells the watcher that a file changed; `careful`: by the process that holds its lock."""
        name = str(path.relative_to(self.root))
        if path.name.endswith(".tmp"):
            return
        objects, before = self.bucket.objects, self.bucket.objects.get(name)
        after = path.read_bytes() if path.exists() else None
        if after is None:
            objects.pop(name, None)
        else:
            self.bucket.changes += 1
            modified = datetime.fromtimestamp(BEGAN + self.world.now, UTC)
            objects[name] = Stored(after, str(self.bucket.changes), modified)
        self.bucket.watch(name, None if before is None else before.data, after, careful)
