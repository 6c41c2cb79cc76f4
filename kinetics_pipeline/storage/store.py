"""What a place for a dataset's files can do, whether a folder (`local`) or an object store (`objects`).

A file appears whole or not at all. `open_store` finds the store of a path or a URI.
"""

from __future__ import annotations

import errno
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from kinetics_pipeline.errors import JobFailed, UserError

Names = list[str]
Listing = list[tuple[str, int]]
"""(name, bytes) of files."""
Versions = list[tuple[str, int, int]]
"""(name, bytes, ns): the last is the file's time stamp, which changes when the file is replaced."""

BLOCK = 8 << 20
"""Bytes that are copied at a time."""
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


@contextmanager
def as_local_file(store: Store, name: str, scratch: Path) -> Iterator[Path]:
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
    with one_line_errors(f"copy {store.uri}/{name}"):
        to.parent.mkdir(parents=True, exist_ok=True)
        with store.open_input(name) as source, to.open("wb") as out:
            while block := source.read(BLOCK):
                out.write(block)


def parts_of(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} leads out of the dataset")
    return parts


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turns what a file system refuses into one line; a missing or taken name stays what it is, for who asked."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except NotADirectoryError as e:
        in_the_way = next((folder for folder in Path(e.filename or "").parents if folder.is_file()), None)
        if in_the_way is None:
            raise UserError(f"cannot {what}: {one_line(e)}") from e
        raise UserError(f"{in_the_way} is a file; allowed in its place: a folder") from e
    except (PermissionError, IsADirectoryError) as e:
        raise UserError(f"cannot {what}: {one_line(e)}") from e
    except OSError as e:
        if e.errno in (errno.EROFS, errno.ENAMETOOLONG):
            raise UserError(f"cannot {what}: {one_line(e)}") from e
        for pattern, mend in _REFUSALS:
            if re.search(pattern, str(e)):
                raise UserError(f"cannot {what}: {mend}") from e
        raise StoreFailed(f"cannot {what}: {one_line(e)}") from e


def one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:500]
