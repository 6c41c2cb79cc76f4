"""SHA-256 of files, and files of the project's own that end with it: a changed bit is never read."""

from __future__ import annotations

import hashlib
from pathlib import Path

_LENGTH = hashlib.sha256().digest_size


def with_digest(data: bytes) -> bytes:
    """What is written."""
    return data + hashlib.sha256(data).digest()


def append_digest(path: Path) -> None:
    """Makes it of a local file that was just written."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.write(digest)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a local file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_digest(data: bytes) -> memoryview | None:
    """What was written; None when that has changed since."""
    body = memoryview(data)[:-_LENGTH]
    return body if hashlib.sha256(body).digest() == data[-_LENGTH:] else None
