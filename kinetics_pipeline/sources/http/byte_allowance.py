"""How many bytes the download at work in this thread may still write: a cache has a limit, a disk has an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class NoRoom(Exception):
    """The download came to the end of its allowance. The partial file stays, and is continued later."""


_of_thread = threading.local()


@contextmanager
def bounded(allowance: int | None) -> Iterator[None]:
    """Inside the block `take` adds up to at most `allowance` bytes; None: whatever comes."""
    _of_thread.left = allowance
    try:
        yield
    finally:
        _of_thread.left = None


def take(count: int) -> None:
    """Asks to write `count` bytes more. Raises NoRoom when they are not allowed."""
    left: int | None = getattr(_of_thread, "left", None)
    if left is None:
        return
    if count > left:
        raise NoRoom
    _of_thread.left = left - count
