"""Memory that Python has freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

import pyarrow as pa

from kinetics_pipeline.storage.mapped_table import let_go_of_pages


def give_back_memory() -> None:
    """Gives back what is free in the heaps of C (glibc keeps it) and of Arrow, and the pages of tables on disk: after
    work on millions of small objects that is hundreds of megabytes. Elsewhere than on Linux with glibc, all but C's."""
    let_go_of_pages()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
