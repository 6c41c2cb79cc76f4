"""Tables of millions of rows that stay in a file of the cache: a page of it takes memory only while it is read."""

from __future__ import annotations

import mmap
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from kinetics_pipeline.storage.cache import make_private

LEAST = 16 << 20
"""Bytes of a table that is worth a file."""
_MAPS: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def on_disk(table: pa.Table, folder: Path) -> pa.Table:
    """The same table, in a file of `folder` without a name, which goes with the table or the process. A small table,
    and one that the disk has no room for, stays in memory."""
    if table.nbytes < LEAST or not hasattr(mmap, "MADV_DONTNEED"):
        return table
    try:
        make_private(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return table
    _MAPS.add(mapped)
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped))).read_all()


def let_go_of_pages() -> None:
    """Takes the pages of these files out of this process's memory; what is read again comes back."""
    for mapped in list(_MAPS):
        with suppress(OSError, ValueError):
            mapped.madvise(mmap.MADV_DONTNEED)
