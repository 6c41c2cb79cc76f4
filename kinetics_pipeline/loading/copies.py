"""Local copies of the shards that are read next from an object store: made ahead of use, within a bound on their bytes.

All processes of a machine share one folder. A copy is named by the SHA-256 in its shard's marker, so a shard that is
replaced is another one. Locks are the kernel's (flock): they go with the process that holds them, however that ends.

- Whoever fetches a shard holds its `.part` file alone, and renames it when it is whole; others wait for that one.
- Whoever needs a copy holds it shared. Only what nobody holds is removed, the least recently needed first.
- Room is taken under the lock of the folder, by giving the `.part` file its length: the bound holds for all together.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards.data_file import data_name
from kinetics_pipeline.shards.markers import Marker, marker_name, parse_marker, shard_of
from kinetics_pipeline.shards.schema import suffix_of
from kinetics_pipeline.storage.cache import cache_folder, make_private
from kinetics_pipeline.storage.file_locks import is_at
from kinetics_pipeline.storage.store import Store, one_line_errors

_STREAMS = 4
"""Shards fetched at a time by one process: one connection to an object store gives some 60 MB/s."""
_BLOCK = 8 << 20
_PAUSE = 0.5
"""Seconds until room, or a shard that another process fetches, is looked for again."""
_PART = ".part"


@dataclass(frozen=True)
class CopyAhead:
    """Where copies go and how many bytes they may take, all of them together; never more than half the free disk."""

    folder: Path
    limit: int

    @classmethod
    def of(cls, cache: str | os.PathLike[str] | None, limit: int) -> CopyAhead:
        return cls(cache_folder(None if cache is None else Path(cache)) / "shards", limit)


class Copies:
    """One process's use of the copies of one dataset. What it asked for last it holds, until it asks for others."""

    def __init__(self, store: Store, layout: Layout, settings: CopyAhead) -> None:
        self._store, self._layout, self._settings = store, layout, settings
        self._process = os.getpid()
        self._markers: dict[str, Marker | None] = {}
        self._wanted: tuple[str, ...] = ()
        self._held: dict[str, tuple[Path, int]] = {}
        """The copy of each shard, and the file descriptor whose lock keeps it."""
        self._stopped = False
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def want(self, shards: Sequence[str]) -> None:
        """Names (of data files) in the order of need: they are fetched from now on, all others let go."""
        with self._changed:
            self._wanted = tuple(shards)
            for shard in self._held.keys() - set(shards):
                os.close(self._held.pop(shard)[1])
            self._changed.notify_all()
        if not self._threads:
            self._threads = [threading.Thread(target=self._fetch_ahead, daemon=True) for _ in range(_STREAMS)]
            for thread in self._threads:
                thread.start()

    def path(self, shard: str) -> Path | None:
        """The copy of a shard, when it is whole; None for one that is not wanted or for which there is no room.

        Raises UserError or JobFailed for what the store refuses.
        """
        with self._changed:
            if shard not in self._wanted or shard in self._held:
                return self._held[shard][0] if shard in self._held else None
        found = self._obtain(shard, wait=True)
        return None if found is None else self._keep(shard, found)

    def close(self) -> None:
        """Ends the fetching and lets everything go."""
        if self._process != os.getpid():
            return  # forked: the threads are not here
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for _, descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def discard(self, shard: str) -> None:
        """Removes a copy that turned out not to be what its marker says, for the next process to fetch it again."""
        with self._changed:
            if shard in self._held:
                self._held[shard][0].unlink(missing_ok=True)

    def _keep(self, shard: str, found: tuple[Path, int]) -> Path:
        with self._changed:
            if shard in self._wanted and shard not in self._held and not self._stopped:
                self._held[shard] = found
            else:
                os.close(found[1])
        return found[0]

    def _fetch_ahead(self) -> None:
        while True:
            with self._changed:
                missing = [shard for shard in self._wanted if shard not in self._held]
                if self._stopped:
                    return
            for shard in missing:
                found = None
                with suppress(UserError, OSError):  # who needs the shard is told why
                    found = self._obtain(shard, wait=False)
                if found is not None:
                    self._keep(shard, found)
                    break
            else:
                with self._changed:
                    if not self._stopped and missing == [s for s in self._wanted if s not in self._held]:
                        self._changed.wait(_PAUSE if missing else None)

    def _obtain(self, shard: str, wait: bool) -> tuple[Path, int] | None:
        """The copy, held; fetched where there is none. None without room, and unless `wait` where another fetches."""
        marker = self._marker(shard)
        if marker is None or marker.sha256 is None:
            return None
        path = self._settings.folder / f"{marker.sha256[:32]}{suffix_of(self._layout)}"
        part = path.with_suffix(_PART)
        make_private(path.parent)
        while not self._stopped:
            if (held := _hold(path)) is not None:
                return path, held
            with self._folder_lock():
                descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                mine = _locked(descriptor) and is_at(part, descriptor)
                if mine and not path.exists() and not self._take_room(descriptor, marker.bytes):
                    part.unlink()
                    os.close(descriptor)
                    return None
            try:
                if mine and path.exists():  # made since it was looked for
                    part.unlink()
                elif mine:
                    self._fetch(shard, marker.bytes, descriptor, part, path)
                elif wait:
                    fcntl.flock(descriptor, fcntl.LOCK_SH)  # until it is whole, or whoever fetched it is gone
                else:
                    return None
            finally:
                os.close(descriptor)
        return None

    def _marker(self, shard: str) -> Marker | None:
        """The marker of the data file `shard`; None where the marker names another data file by now."""
        if shard not in self._markers:
            name = marker_name(shard_of(shard))
            try:
                marker = parse_marker(name, self._store.read(name))
                self._markers[shard] = marker if marker.file == shard else None
            except FileNotFoundError:
                self._markers[shard] = None
        return self._markers[shard]

    def _fetch(self, shard: str, size: int, descriptor: int, part: Path, path: Path) -> None:
        """Fills `part` and gives it its name; leaves neither if that fails or this process is to stop."""
        name, done = data_name(shard, self._layout), False
        try:
            with one_line_errors(f"copy {self._store.uri}/{name}"), closing(self._store.open_input(name)) as source:
                for begin in range(0, size, _BLOCK):
                    if self._stopped:
                        return
                    block = source.read_at(min(_BLOCK, size - begin), begin)
                    if not block:
                        raise EOFError(f"{name} ends before the {size} bytes that its marker says")
                    os.pwrite(descriptor, block, begin)
            os.fsync(descriptor)
            os.replace(part, path)
            done = True
        finally:
            if not done:
                part.unlink(missing_ok=True)

    def _take_room(self, descriptor: int, size: int) -> bool:
        """Makes room for `size` bytes and takes it for the file; whether there is. With the folder locked."""
        files = sorted(self._files())
        total = sum(found for _, found, _ in files)
        limit = min(self._settings.limit, (shutil.disk_usage(self._settings.folder).free + total) // 2)
        if size > limit:
            return False
        for _, found, name in sorted(files, key=lambda file: not file[2].endswith(_PART)):  # of the dead first
            if total + size > limit and _remove_unless_held(name):
                total -= found
        if total + size > limit:
            return False
        try:
            (os.posix_fallocate if hasattr(os, "posix_fallocate") else _lengthen)(descriptor, 0, size)
        except OSError:  # a full disk: shards are read where they are
            return False
        return True

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """(time of the last need, bytes, path)."""
        for entry in os.scandir(self._settings.folder):
            with suppress(FileNotFoundError):  # just renamed
                yield entry.stat().st_mtime_ns, entry.stat().st_size, entry.path

    @contextmanager
    def _folder_lock(self) -> Iterator[None]:
        with (self._settings.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _lengthen(descriptor: int, _: int, size: int) -> None:
    os.ftruncate(descriptor, size)


def _hold(path: Path) -> int | None:
    """A descriptor of the file, held against removal; None when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not is_at(path, descriptor):
        os.close(descriptor)
        return None
    os.utime(path)  # the least recently needed is removed first
    return descriptor


def _remove_unless_held(name: str) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if _locked(descriptor):
            Path(name).unlink(missing_ok=True)
            return True
        return False
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the file could be locked for this descriptor alone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
