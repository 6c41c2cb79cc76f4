"""Where a dataset lies: a folder, or an object store behind `pyarrow.fs`. A file appears whole or not at all.

Locally a file is written under a temporary name, synced, renamed, and its folder synced. An object appears when its
stream is closed, and pyarrow closes it also when an exception leaves a `with` block, which would commit half a file:
so an object is only ever written from bytes or a finished file that lie whole at hand, and without that block.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from pyarrow import fs

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.redaction import without_secrets

Names = list[str]
Listing = list[tuple[str, int]]
"""(name, bytes) of files."""
Versions = list[tuple[str, int, int]]
"""(name, bytes, ns): the last is the file's time stamp, which changes when the file is replaced."""

_TEMPORARY = ".tmp"
_BLOCK = 8 << 20


_REFUSALS = (
    (r"ExpiredToken|EXPIRED_TOKEN|TokenRefreshRequired", "the credentials have expired; renew them"),
    (r"InvalidAccessKeyId|INVALID_ACCESS_KEY_ID", "the credentials are not known there; look at AWS_ACCESS_KEY_ID"),
    (r"SignatureDoesNotMatch|SIGNATURE_DOES_NOT_MATCH", "the credentials do not fit; look at AWS_SECRET_ACCESS_KEY"),
    (r"ACCESS_DENIED", "the credentials do not allow it"),
    (r"NO_SUCH_BUCKET", "there is no such bucket"),
    # An answer to HEAD has no body that could say why.
    (r"HTTP status 40[013]\) during Head", "the credentials are refused: expired, unknown, or not for this place"),
)
"""What the user must mend, by the error codes of S3 (Amazon S3 API Reference) and the SDK's names for them."""


class StoreFailed(JobFailed):
    """A file could not be had or written, which says nothing of what it holds."""


class Store(Protocol):
    """Files by name (`shards/train-00000.json`) under one place. Plain data: it is pickled to the workers.

    A missing file is FileNotFoundError; what the user must mend (rights, credentials, a full disk) is UserError.
    """

    uri: str

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None:
        """Replaces the file, whole or not at all."""

    def create_exclusive(self, name: str, data: bytes) -> bool:
        """Writes the file unless there is one; whether it did. Object stores do it only as well as they can."""

    def upload(self, local: Path, name: str) -> None:
        """Copies a finished local file, whole or not at all."""

    def list(self, prefix: str = "") -> Listing:
        """(name, bytes) of every file under the folder `prefix`, at any depth, sorted; [] when there is none."""

    def versions(self, prefix: str = "") -> Versions:
        """Like `list`, with time stamps."""

    def top(self) -> Names:
        """Names of the files and folders directly in the place, temporary ones left out; [] when there is none."""

    def exists(self, name: str) -> bool: ...

    def delete(self, name: str) -> None:
        """Removes the file; nothing when there is none."""

    def local_path(self, name: str) -> Path | None:
        """Where the file lies on this machine; None in an object store."""

    def open_input(self, name: str) -> Any:
        """A pyarrow file for random access."""

    def sweep(self) -> int:
        """Removes what killed writers left behind; how many. Only for who holds the dataset's lease."""


def open_store(uri: str | os.PathLike[str]) -> Store:
    """The store of a path or a URI (`file://`, `s3://`, `gs://`). Touches nothing there.

    Raises UserError for a URI that is none or a file system that there is not.
    """
    text = os.fspath(uri)
    if not text:
        raise UserError("the place of a dataset is empty; allowed: a path or a URI such as s3://bucket/folder")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalStore(str(Path(text).expanduser().absolute()))
    if scheme == "file":
        if not rest.startswith("/"):
            raise UserError(f"{text}: a file URI is file:///absolute/path")
        return LocalStore(rest)
    if "@" in rest.partition("/")[0]:
        raise UserError(
            f"{without_secrets(text)} names an account, which would be stored with the dataset; credentials belong in "
            "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
        )
    if not rest.strip("/"):
        raise UserError(f"{text} names no bucket; allowed: a path, s3://bucket/folder, gs://bucket/folder")
    try:
        filesystem, root = fs.FileSystem.from_uri(text)
    except (OSError, ValueError) as e:  # ArrowInvalid is a ValueError
        raise UserError(f"{text}: {_one_line(e)}; allowed: a path, s3://bucket/folder, gs://bucket/folder") from None
    return ObjectStore(text.rstrip("/"), filesystem, root.rstrip("/"))


class LocalStore:
    """A folder of this machine, or of a file system that all nodes share."""

    def __init__(self, root: str) -> None:
        self.uri = root

    def read(self, name: str) -> bytes:
        with said_in_a_line(f"read {self.uri}/{name}"):
            return self._path(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        self._put(name, lambda out: _write_all(out, data), os.replace)

    def create_exclusive(self, name: str, data: bytes) -> bool:
        if self._path(name).exists():
            return False
        try:
            self._put(name, lambda out: _write_all(out, data), _take_name)
        except FileExistsError:
            return False
        return True

    def upload(self, local: Path, name: str) -> None:
        def copy(out: BinaryIO) -> None:
            with local.open("rb") as source:
                shutil.copyfileobj(source, out, _BLOCK)

        self._put(name, copy, os.replace)

    def list(self, prefix: str = "") -> Listing:
        return [(name, size) for name, size, _ in self.versions(prefix)]

    def versions(self, prefix: str = "") -> Versions:
        with said_in_a_line(f"list {self.uri}/{prefix}"):
            found = _files(self._path(prefix), "".join(f"{part}/" for part in _parts(prefix)))
            return sorted(
                (name, stat.st_size, stat.st_mtime_ns)
                for name, stat in found
                if not _is_temporary(name.rpartition("/")[2])
            )

    def top(self) -> Names:
        with said_in_a_line(f"list {self.uri}"):
            try:
                return sorted(name for name in os.listdir(self.uri) if not _is_temporary(name))
            except FileNotFoundError:
                return []

    def exists(self, name: str) -> bool:
        with said_in_a_line(f"look for {self.uri}/{name}"):
            return self._path(name).exists()

    def delete(self, name: str) -> None:
        with said_in_a_line(f"remove {self.uri}/{name}"):
            self._path(name).unlink(missing_ok=True)

    def local_path(self, name: str) -> Path | None:
        return self._path(name)

    def open_input(self, name: str) -> Any:
        with said_in_a_line(f"open {self.uri}/{name}"):
            return fs.LocalFileSystem().open_input_file(str(self._path(name)))

    def sweep(self) -> int:
        with said_in_a_line(f"list {self.uri}"):
            left = [name for name, _ in _files(Path(self.uri)) if _is_temporary(name.rpartition("/")[2])]
            for name in left:
                self._path(name).unlink(missing_ok=True)
        return len(left)

    def _path(self, name: str) -> Path:
        return Path(self.uri, *_parts(name))

    def _put(self, name: str, fill: Callable[[BinaryIO], None], commit: Callable[[Path, Path], None]) -> None:
        path = self._path(name)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
        with said_in_a_line(f"write {path}"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, FileNotFoundError) as e:
                raise UserError(f"cannot write {path}: {path.parent} cannot be made a folder") from e
            try:
                with temporary.open("xb") as out:
                    fill(out)
                    out.flush()
                    os.fsync(out.fileno())
                commit(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)


class ObjectStore:
    """A bucket's folder, by pyarrow's own client: it retries server errors, and honours AWS_ENDPOINT_URL."""

    def __init__(self, uri: str, filesystem: Any, root: str) -> None:
        self.uri, self._fs, self._root = uri, filesystem, root

    def read(self, name: str) -> bytes:
        with said_in_a_line(f"read {self.uri}/{name}"), self._fs.open_input_file(self._key(name)) as source:
            return bytes(source.read())

    def write(self, name: str, data: bytes) -> None:
        with said_in_a_line(f"write {self.uri}/{name}"):
            out = self._fs.open_output_stream(self._key(name))
            out.write(data)
            out.close()

    def create_exclusive(self, name: str, data: bytes) -> bool:
        if self.exists(name):
            return False
        self.write(name, data)
        return self.read(name) == data

    def upload(self, local: Path, name: str) -> None:
        with said_in_a_line(f"write {self.uri}/{name}"), local.open("rb") as source:
            # Not in a `with` of its own: an exception that left it would commit what was written so far.
            out = self._fs.open_output_stream(self._key(name))
            while block := source.read(_BLOCK):
                out.write(block)
            out.close()

    def list(self, prefix: str = "") -> Listing:
        return [(name, size) for name, size, _ in self.versions(prefix)]

    def versions(self, prefix: str = "") -> Versions:
        folder = self._key(prefix)
        with said_in_a_line(f"list {self.uri}/{prefix}"):
            infos = self._fs.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
        return sorted(
            (str(PurePosixPath(info.path).relative_to(self._root)), info.size, info.mtime_ns or 0)
            for info in infos
            if info.type == fs.FileType.File
        )

    def top(self) -> Names:
        with said_in_a_line(f"list {self.uri}"):
            infos = self._fs.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.base_name for info in infos)

    def exists(self, name: str) -> bool:
        with said_in_a_line(f"look for {self.uri}/{name}"):
            return bool(self._fs.get_file_info(self._key(name)).type == fs.FileType.File)

    def delete(self, name: str) -> None:
        with said_in_a_line(f"remove {self.uri}/{name}"):
            try:
                self._fs.delete_file(self._key(name))
            except FileNotFoundError:
                return

    def local_path(self, name: str) -> Path | None:
        return None

    def open_input(self, name: str) -> Any:
        with said_in_a_line(f"open {self.uri}/{name}"):
            return self._fs.open_input_file(self._key(name))

    def sweep(self) -> int:
        return 0  # an object that was not finished was never there

    def _key(self, name: str) -> str:
        return "/".join([self._root, *_parts(name)])


@contextmanager
def at_hand(store: Store, name: str, scratch: Path) -> Iterator[Path]:
    """A file of a store as a local one: itself, or a copy in `scratch` for as long as the block lasts.

    Raises FileNotFoundError when there is none.
    """
    local = store.local_path(name)
    if local is not None:
        yield local
        return
    copy = scratch / f"{uuid.uuid4().hex}-{PurePosixPath(name).name}"
    try:
        download(store, name, copy)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def download(store: Store, name: str, to: Path) -> None:
    """Copies a file of a store to a local one, which is whole only when this returns."""
    with said_in_a_line(f"copy {store.uri}/{name}"):
        to.parent.mkdir(parents=True, exist_ok=True)
        with store.open_input(name) as source, to.open("wb") as out:
            while block := source.read(_BLOCK):
                out.write(block)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` durable: a file is safe only when the entry that names it is (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} leads out of the dataset")
    return parts


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
            try:
                yield f"{prefix}{entry.name}", entry.stat()
            except FileNotFoundError:  # a writer has just renamed it
                continue


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(_TEMPORARY)


def _write_all(out: BinaryIO, data: bytes) -> None:
    out.write(data)


@contextmanager
def said_in_a_line(what: str) -> Iterator[None]:
    """Turns what a file system refuses into one line; a missing or taken name stays what it is, for who asked."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except NotADirectoryError as e:
        in_the_way = next((folder for folder in Path(e.filename or "").parents if folder.is_file()), None)
        if in_the_way is None:
            raise UserError(f"cannot {what}: {_one_line(e)}") from e
        raise UserError(f"{in_the_way} is a file; allowed in its place: a folder") from e
    except (PermissionError, IsADirectoryError) as e:
        raise UserError(f"cannot {what}: {_one_line(e)}") from e
    except OSError as e:
        if e.errno in (errno.EROFS, errno.ENAMETOOLONG):
            raise UserError(f"cannot {what}: {_one_line(e)}") from e
        for pattern, mend in _REFUSALS:
            if re.search(pattern, str(e)):
                raise UserError(f"cannot {what}: {mend}") from e
        raise StoreFailed(f"cannot {what}: {_one_line(e)}") from e


def _one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:500]
