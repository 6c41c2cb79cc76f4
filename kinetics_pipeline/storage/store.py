"""What a place for files can do, whether it is a folder (`local`) or in an object store (`objects`).

A file appears whole or not at all. `create` and `replace` are decided by the store: of several writers one wins.
`open_store` finds the store of a path or a URI.
"""

from __future__ import annotations

import errno
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains

Names = list[str]
Listing = list[tuple[str, int]]
"""(name, bytes) of files."""

BLOCK = 8 << 20
"""Bytes that are copied at a time."""

_RENEW = ((r"ExpiredToken|TokenRefreshRequired|InvalidToken", "the credentials have expired; renew them"),)
_REFUSALS = (
    (r"InvalidAccessKeyId", "the credentials are not known there; look at AWS_ACCESS_KEY_ID"),
    (r"SignatureDoesNotMatch", "the credentials do not fit; look at AWS_SECRET_ACCESS_KEY"),
    (r"AccessDenied|AllAccessDisabled|AuthorizationFailure", "the credentials do not allow it"),
    (r"NoSuchBucket|ContainerNotFound", "there is no such bucket"),
    (
        r"PermanentRedirect|status code: 301|AuthorizationHeaderMalformed",
        "the bucket is in another region; set AWS_REGION",
    ),
    # An answer to HEAD has no body that could say why.
    (r"status code: 40[013]\b", "the credentials are refused: expired, unknown, or not for this place"),
)
"""What the user must change, by the error codes of S3 (Amazon S3 API Reference) and Azure Blob Storage."""


LARGEST_READ = 1 << 30
"""Bytes of a file that is read as a whole: plans, markers and what lies in `state/` are far smaller."""


class StoreFailed(JobFailed):
    """A file could not be read or written, which says nothing of what it holds."""


class LeadsOut(UserError, ValueError):
    """A name that leads out of the place; a dataset of a stranger may hold one."""


class StoredFile(NamedTuple):
    """A file as a listing describes it."""

    name: str
    size: int
    """Bytes."""
    version: str
    """Changes whenever the file is written: the ETag; of a local file its inode, time and size."""
    modified: float
    """Time when it was written, by the store's clock, in seconds since 1970. Only for people to read."""


Files = list[StoredFile]


class Store(Protocol):
    """Files by name (`shards/train-00000.json`) under one place. Plain data: it is pickled to the workers.

    A missing file raises FileNotFoundError. What the user must change (rights, credentials) raises UserError, what
    passes by itself or with more room WorkRemains, any other failure StoreFailed; each in one line.
    """

    uri: str

    def read(self, name: str) -> bytes: ...

    def read_version(self, name: str) -> tuple[bytes, str]:
        """The file, and its version for `replace`."""

    def write(self, name: str, data: bytes) -> None:
        """Writes the file, whatever was there."""

    def create(self, name: str, data: bytes) -> bool:
        """Writes the file if there is none. False when there is one that holds something else."""

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Writes the file if it still has that version. False when it was changed or removed to something else."""

    def upload(self, local: Path, name: str) -> None:
        """Copies a finished local file, whatever was there."""

    def decides(self, size: int) -> bool:
        """Whether `create_from` and `replace_from` are decided by the store for a file of so many bytes too. If not,
        they look before and after, and who writes in between may lose: one writer at a time must use them."""

    def create_from(self, local: Path, name: str) -> bool:
        """Copies a finished local file like `create`."""

    def replace_from(self, local: Path, name: str, version: str) -> bool:
        """Copies a finished local file like `replace`."""

    def list(self, prefix: str = "") -> Listing:
        """(name, bytes) of every file under the folder `prefix`, at any depth, sorted; [] when there is none."""

    def files(self, prefix: str = "") -> Files:
        """Like `list`, with versions and times, in the same requests."""

    def top(self) -> Names:
        """Names of the files and folders directly in the place, temporary ones left out; [] when there is none."""

    def exists(self, name: str) -> bool: ...

    def version(self, name: str) -> str | None:
        """The file's version for `replace`; None when there is no such file."""

    def delete(self, name: str) -> None:
        """Removes the file; nothing when there is none."""

    def delete_many(self, names: Sequence[str]) -> None:
        """Like `delete`, in few requests."""

    def local_path(self, name: str) -> Path | None:
        """Where the file lies on this machine; None in an object store."""

    def open_input(self, name: str) -> Any:
        """A pyarrow file for random access."""

    def sweep(self) -> int:
        """Removes what killed writers left behind; how many. Only for the holder of the dataset's lease."""

    def require_conditions(self) -> None:
        """Raises UserError where the store does not keep what `create` and `replace` promise. A few requests."""


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
    """The folders and the file of a name. Raises LeadsOut for a name that leads out of the place."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise LeadsOut(f"{name!r} leads out of the dataset")
    return parts


def require_small(name: str, size: int) -> None:
    """Raises JobFailed for a file that no build has written: reading it would take all memory."""
    if size > LARGEST_READ:
        raise JobFailed(f"{name} is damaged: it has {size} bytes; allowed: up to {LARGEST_READ}")


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turns what a file system refuses into one line; a missing or taken name stays what it is, for the caller."""
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
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkRemains(f"cannot {what}: {one_line(e)}; make room, and run the same command again") from e
        raise failure(what, e) from e


def failure(what: str, error: Exception) -> UserError:
    """The error to raise for what an object store, or a file system, answered."""
    text = str(error)
    for pattern, remedy in _RENEW:
        if re.search(pattern, text):
            return WorkRemains(f"cannot {what}: {remedy}, and run the same command again")
    for pattern, remedy in _REFUSALS:
        if re.search(pattern, text):
            return UserError(f"cannot {what}: {remedy}")
    return StoreFailed(f"cannot {what}: {one_line(error)}")


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    text = str(getattr(error, "strerror", None) or error).partition("\n\nDebug source")[0]
    return " ".join(text.split())[:500]
