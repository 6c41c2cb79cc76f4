"""Reads a sorted string table, the form of a TensorFlow checkpoint's `.index` file (LevelDB, doc/table_format.md).

Raises ValueError for anything that is not one, or is damaged: every block's CRC is checked, every length is held
against what is left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kinetics_pipeline.models.weights.crc32c import masked_crc32c
from kinetics_pipeline.models.weights.snappy import decompress

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_NO_COMPRESSION, _SNAPPY = 0, 1


def read_table(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) in order."""
    if len(table) < _FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise ValueError("it does not end as an index file does")
    footer = table[-_FOOTER_BYTES:]
    _, at = _handle(footer, 0)  # of the metaindex, which says nothing here
    index, _ = _handle(footer, at)
    for _, value in _entries(_block(table, index)):
        handle, _ = _handle(value, 0)
        yield from _entries(_block(table, handle))


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number in base 128, lowest digits first, and where it ends."""
    number, shift = 0, 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number runs past its end")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """(offset, size) of a block, and where the handle ends."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (offset, size), at


def _block(table: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    end = offset + size
    if end + _TRAILER_BYTES > len(table):
        raise ValueError("a block lies past the end of the file")
    stored = struct.unpack("<I", table[end + 1 : end + _TRAILER_BYTES])[0]
    if masked_crc32c(table[offset : end + 1]) != stored:
        raise ValueError(f"the block at byte {offset} has another CRC than was stored")
    compression, content = table[end], table[offset:end]
    if compression == _SNAPPY:
        return decompress(content)
    if compression != _NO_COMPRESSION:
        raise ValueError(f"the block at byte {offset} is compressed in a way unknown here ({compression})")
    return content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A key is given by how much it shares with the one before, and the rest."""
    if len(block) < 4:
        raise ValueError("a block is too short")
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    if end < 0:
        raise ValueError("a block is too short for its restarts")
    key, at = b"", 0
    while at < end:
        shared, at = read_varint(block, at)
        own, at = read_varint(block, at)
        length, at = read_varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise ValueError("an entry runs past its block")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length
