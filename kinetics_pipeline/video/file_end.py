"""Whether a file that makes no claim in seconds ends before it should: by its bytes.

Of a transport stream nothing says how long it is, and ffmpeg passes over what is not a packet without a word. Of an ASF
file ffmpeg drops the length that the header gives once the file has another size than the header says.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from kinetics_pipeline.video.transport_stream import SYNC, packets_begin

_BLOCK = 1 << 20
_IN_A_ROW = 5
"""Packets that must follow each other, for their sync bytes not to be there by chance."""
_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""ASF specification, 3.2: the object that holds the file's size, 40 bytes from its beginning."""


def share_unread(path: Path, format: str) -> float:
    """How many times the bytes that can be read are missing or unreadable at the file's end; 0 where none are known to
    be. `format`: ffmpeg's name of it."""
    size = path.stat().st_size
    if format == "mpegts":
        end = _last_packet_end(path, size)
        return (size - end) / end if end else 0.0
    if format == "asf":
        return max(0.0, (_size_in_header(path) - size) / size)
    return 0.0


def _last_packet_end(path: Path, size: int) -> int:
    """Where the last packet of a transport stream ends; 0 where there are not enough of them."""
    begin = packets_begin(path)
    if begin is None:
        return 0
    length = begin[1]
    behind, end = length * (_IN_A_ROW - 1), size
    with path.open("rb") as file:
        while end > behind:
            start = max(0, end - behind - _BLOCK)
            file.seek(start)
            sync = np.frombuffer(file.read(end - start), np.uint8) == SYNC
            found = sync[behind:].copy()
            for number in range(_IN_A_ROW - 1):
                found &= sync[number * length : number * length + len(found)]
            places = np.flatnonzero(found)
            if len(places):
                return min(size, start + behind + int(places[-1]) + length)
            end = start + behind
            if start == 0:
                break
    return 0


def _size_in_header(path: Path) -> int:
    """Bytes that an ASF file should have; 0 where it does not say, as a recording that was not finished."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    at = head.find(_FILE_PROPERTIES)
    found = head[at + 40 : at + 48]
    return int(struct.unpack("<Q", found)[0]) if at >= 0 and len(found) == 8 else 0
