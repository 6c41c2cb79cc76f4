"""Writes TensorFlow checkpoints (index + data) from arrays, so that the reader can be tried on what it will meet."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kinetics_pipeline.models.weights.crc32c import masked_crc32c

ENTRIES_A_BLOCK, ENTRIES_A_RESTART = 40, 16


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry_proto(array: np.ndarray, offset: int, dtype: int) -> bytes:
    shape = b"".join(field(2, field(1, n)) for n in array.shape)
    proto = field(1, dtype) + field(2, shape) + (field(4, offset) if offset else b"") + field(5, array.nbytes)
    return proto + varint(6 << 3 | 5) + struct.pack("<I", masked_crc32c(array.tobytes()))


def block_of(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Keys share prefixes with the one before, except at restarts."""
    out, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % ENTRIES_A_RESTART == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def snappy_literal(data: bytes) -> bytes:
    """Snappy as one literal of up to 65536 bytes: what a compressor may write for anything."""
    return varint(len(data)) + bytes([61 << 2]) + struct.pack("<H", len(data) - 1) + data


def write_bundle(prefix: Path, arrays: Mapping[str, np.ndarray], snappy: bool = False) -> None:
    """PREFIX.index and PREFIX.data-00000-of-00001 holding float32 (type 1) and int64 (type 9) arrays."""
    entries = [(b"", field(1, 1) + field(3, field(1, 1)))]
    with Path(f"{prefix}.data-00000-of-00001").open("wb") as data:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            entries.append((name.encode(), entry_proto(array, data.tell(), 9 if array.dtype == np.int64 else 1)))
            data.write(array.tobytes())
    table, index = b"", []
    for start in range(0, len(entries), ENTRIES_A_BLOCK):
        part = entries[start : start + ENTRIES_A_BLOCK]
        handle, table = append_block(table, block_of(part), snappy)
        index.append((part[-1][0], handle))
    meta, table = append_block(table, block_of([]), False)
    root, table = append_block(table, block_of(index), snappy)
    footer = (meta + root).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    Path(f"{prefix}.index").write_bytes(table + footer)


def append_block(table: bytes, block: bytes, snappy: bool) -> tuple[bytes, bytes]:
    """(handle of the block, table with it)."""
    content = (snappy_literal(block) if snappy else block) + bytes([int(snappy)])
    handle = varint(len(table)) + varint(len(content) - 1)
    return handle, table + content + struct.pack("<I", masked_crc32c(content))
