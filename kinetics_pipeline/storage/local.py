"""A folder of this machine, or of a file system that all nodes share.

A file is written under a temporary name, synced, given its name, and its folder is synced: it appears whole and stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any, BinaryIO

from pyarrow import fs

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.storage.store import (
    BLOCK,
    Files,
    Listing,
    Names,
    StoredFile,
    one_line_errors,
    parts_of,
    require_small,
)

_TEMPORARY = ".tmp"
LOCKED_AT_MOST = 300.0
"""Seconds in which another process has replaced its file: one may be as large as a shard."""


class LocalStore:
    """See `store.Store`. Links within the place are refused: they could lead anywhere."""

    def __init__(self, root: str) -> None:
        self.uri = root

    def read(self, name: str) -> bytes:
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, str]:
        with one_line_errors(f"read {self.uri}/{name}"), self._path(name).open("rb") as file:
            stat = os.fstat(file.fileno())
            require_small(f"{self.uri}/{name}", stat.st_size)
            return file.read(), _version(stat)

    def write(self, name: str, data: bytes) -> None:
        with self._new_file(name) as out:
            out.write(data)

    def create(self, name: str, data: bytes) -> bool:
        return self._created(name, lambda out: out.write(data))

    def replace(self, name: str, data: bytes, version: str) -> bool:
        with self._unchanged(name, version) as unchanged:
            if unchanged:
                self.write(name, data)
        return unchanged or self._holds(name, data)

    def upload(self, local: Path, name: str) -> None:
        with self._new_file(name) as out, local.open("rb") as source:
            shutil.copyfileobj(source, out, BLOCK)

    def decides(self, size: int) -> bool:
        return True

    def create_from(self, local: Path, name: str) -> bool:
        def copy(out: BinaryIO) -> None:
            with local.open("rb") as source:
                shutil.copyfileobj(source, out, BLOCK)

        return self._created(name, copy) or self._is_same(local, name)

    def replace_from(self, local: Path, name: str, version: str) -> bool:
        with self._unchanged(name, version) as unchanged:
            if unchanged:
                self.upload(local, name)
        return unchanged or self._is_same(local, name)

    def list(self, prefix: str = "") -> Listing:
        return [(file.name, file.size) for file in self.files(prefix)]

    def files(self, prefix: str = "") -> Files:
        with one_line_errors(f"list {self.uri}/{prefix}"):
            found = _files(self._path(prefix), "".join(f"{part}/" for part in parts_of(prefix)))
            return sorted(
                StoredFile(name, stat.st_size, _version(stat), stat.st_mtime)
                for name, stat in found
                if not _is_temporary(name.rpartition("/")[2])
            )

    def top(self) -> Names:
        with one_line_errors(f"list {self.uri}"):
            try:
                return sorted(name for name in os.listdir(self.uri) if not _is_temporary(name))
            except FileNotFoundError:
                return []

    def exists(self, name: str) -> bool:
        with one_line_errors(f"look for {self.uri}/{name}"):
            return self._path(name).exists()

    def version(self, name: str) -> str | None:
        with one_line_errors(f"look for {self.uri}/{name}"):
            try:
                return _version(self._path(name).stat())
            except FileNotFoundError:
                return None

    def delete(self, name: str) -> None:
        with one_line_errors(f"remove {self.uri}/{name}"):
            _remove(self._path(name))

    def delete_many(self, names: Sequence[str]) -> None:
        for name in names:
            self.delete(name)

    def local_path(self, name: str) -> Path | None:
        return self._path(name)

    def open_input(self, name: str) -> Any:
        with one_line_errors(f"open {self.uri}/{name}"):
            return fs.LocalFileSystem().open_input_file(str(self._path(name)))

    def sweep(self) -> int:
        with one_line_errors(f"list {self.uri}"):
            left = [name for name, _ in _files(Path(self.uri)) if _is_temporary(name.rpartition("/")[2])]
            for name in left:
                _remove(self._path(name))
        return len(left)

    def require_conditions(self) -> None:
        return  # link(2) and rename(2) keep them

    def _path(self, name: str) -> Path:
        """Raises UserError where a link, or what would keep a reader waiting (a pipe, a device), is in the way."""
        path = self.uri
        for part in parts_of(name):
            path = os.path.join(path, part)
            try:
                mode = os.lstat(path).st_mode
            except (OSError, ValueError):  # who uses the path is told
                continue
            if S_ISLNK(mode):
                raise UserError(f"{path} is a link, which could lead out of the dataset; allowed: files and folders")
            if not (S_ISREG(mode) or S_ISDIR(mode)):
                raise UserError(f"{path} is a pipe, a socket or a device; allowed: files and folders")
        return Path(path)

    def _created(self, name: str, fill: Callable[[BinaryIO], object]) -> bool:
        if self._path(name).exists():
            return False
        try:
            with self._new_file(name, exclusive=True) as out:
                fill(out)
        except FileExistsError:
            return False
        return True

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read(name) == data
        except FileNotFoundError:
            return False

    def _is_same(self, local: Path, name: str) -> bool:
        try:
            with one_line_errors(f"read {self.uri}/{name}"):
                path = self._path(name)
                return path.stat().st_size == local.stat().st_size and sha256_of(path) == sha256_of(local)
        except FileNotFoundError:
            return False

    @contextmanager
    def _unchanged(self, name: str, version: str) -> Iterator[bool]:
        """Whether the file has that version, and no other `replace` of the folder's files runs within the block."""
        path = self._path(name)
        with one_line_errors(f"write {path}"), ExitStack() as stack:
            try:
                folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, folder)
                _lock(folder, path.parent)
                found = _version(path.stat())
            except FileNotFoundError:
                found = ""
            yield found == version

    @contextmanager
    def _new_file(self, name: str, *, exclusive: bool = False) -> Iterator[BinaryIO]:
        path = self._path(name)
        with one_line_errors(f"write {path}"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, FileNotFoundError) as e:
                raise UserError(f"cannot write {path}: {path.parent} cannot be made a folder") from e
            with new_file(path, exclusive=exclusive) as out:
                yield out


@contextmanager
def new_file(path: Path, *, exclusive: bool = False) -> Iterator[BinaryIO]:
    """A file to write to that gets its name on leaving the block, whole and durable; after an error nothing is left.

    It replaces a file of that name; `exclusive` raises FileExistsError instead. Raises WorkRemains where another
    process has swept the unfinished file.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
    try:
        with temporary.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        try:
            (_take_name if exclusive else os.replace)(temporary, path)
        except FileNotFoundError:  # swept as if this process had been killed
            raise WorkRemains(
                f"{path} is not written: another command has taken over and removed what this one had begun; run the "
                "same command again when that has ended"
            ) from None
    finally:
        _remove(temporary)
    sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Removes what killed writers of the file `path` have left. Another one that writes it now raises WorkRemains."""
    begins = f".{path.name}."
    for left in path.parent.iterdir():
        if left.name.startswith(begins) and _is_temporary(left.name):
            _remove(left)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` durable: a file is safe only when the entry that names it is (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    """Keeps a folder from other processes until the descriptor is closed. Raises WorkRemains where one of them, which
    may be stopped, does not give it back."""
    ends = time.monotonic() + LOCKED_AT_MOST
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > ends:
                raise WorkRemains(
                    f"{folder} has been locked by another process for {LOCKED_AT_MOST:.0f} s; end that one, and run "
                    "the same command again"
                ) from None
            time.sleep(0.05)
        except OSError:  # a file system without locks: the lease alone keeps others away
            return


def _take_name(temporary: Path, path: Path) -> None:
    """Gives `path` to one of several writers. Raises FileExistsError for the others, where a rename would replace."""
    try:
        os.link(temporary, path)
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        with path.open("xb") as out:  # a file system without links: exclusive, though for a moment empty
            out.write(temporary.read_bytes())
            out.flush()
            os.fsync(out.fileno())


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _files(folder: str | os.PathLike[str], prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """The files at any depth, by their names below the folder, which `prefix` begins."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:  # never a list of them: each keeps its stat, and there may be many thousands
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{prefix}{entry.name}/")
                continue
            if not entry.is_file(follow_symlinks=False):
                continue
            try:
                yield f"{prefix}{entry.name}", entry.stat()
            except FileNotFoundError:  # a writer has just renamed it
                continue


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(_TEMPORARY)


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
