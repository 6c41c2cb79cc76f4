"""Rows of a local Parquet shard, read where they lie: Arrow copies the images more than once, and takes as long again
to find them.

Only what is just as `shards.writer` leaves it is read here: a row group of one row, each of its columns one page of
plain values (Parquet's specification, "Encodings"), nothing compressed, the images as long and as many as the row's
CRC says. Whatever is not is Arrow's to read, and to complain of.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kinetics_pipeline.shards import codec

_MOST_HEADER = 256
"""Bytes of a page before its values: its header, and the levels of as many images as a row may hold."""


class PlainRows:
    """An open shard. `footer` is its own, and `schema` a shard's (`schema.row_schema`)."""

    def __init__(self, path: Path, footer: pq.FileMetaData, schema: pa.Schema) -> None:
        self._footer, self._number = footer, {name: number for number, name in enumerate(schema.names)}
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._size = os.fstat(self._file).st_size
        self._header = 0

    def strings(
        self, row: int, identity: tuple[str, int, int, int, int], counts: Mapping[str, int]
    ) -> dict[str, list[NDArray[np.uint8]]] | None:
        """The byte strings of each stream, so many as `counts` says, in the row with this identity (clip_id, chunk,
        label, height, width).

        None when anything in the row is not as expected.
        """
        if row >= self._footer.num_row_groups:
            return None
        columns = self._footer.row_group(row)
        clip_id, *numbers = identity
        name = clip_id.encode()
        expected = {"clip_id": _integer(len(name)) + name}
        expected |= zip(("chunk", "label", "height", "width"), map(_integer, numbers), strict=True)
        if not all(self._page(columns, column).endswith(value) for column, value in expected.items()):
            return None
        found = {}
        for stream, count in counts.items():
            page = self._page(columns, stream)
            bounds = self._bounds(page, count)
            if bounds is None:
                return None
            crc = codec.crc_of_plain(memoryview(page)[bounds[0] :])
            if not self._page(columns, f"crc_{stream}").endswith(crc.to_bytes(4, "little")):
                return None
            values = np.frombuffer(page, np.uint8)
            found[stream] = [values[begin + 4 : end] for begin, end in itertools.pairwise(bounds)]
        return found

    def _page(self, columns: pq.RowGroupMetaData, name: str) -> bytes:
        about = columns.column(self._number[name])
        begin, size = about.data_page_offset, about.total_compressed_size
        return os.pread(self._file, size, begin) if 0 <= begin <= begin + size <= self._size else b""

    def _bounds(self, page: bytes, count: int) -> list[int] | None:
        """Where the `count` values of a page begin, each behind the 4 bytes of its length, and where the last ends: at
        the page's end. How long the header before them is, is known when they do."""
        for first in (self._header, *range(min(_MOST_HEADER, len(page)))):
            bounds = [first]
            while len(bounds) <= count and bounds[-1] < len(page):
                at = bounds[-1]
                bounds.append(at + 4 + int.from_bytes(page[at : at + 4], "little"))
            if len(bounds) == count + 1 and bounds[-1] == len(page):
                self._header = first
                return bounds
        return None


def _integer(value: int) -> bytes:
    """An INT32 as Parquet stores it."""
    return value.to_bytes(4, "little", signed=True)
