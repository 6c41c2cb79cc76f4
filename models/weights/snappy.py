"""Snappy's raw format (google/snappy, format_description.txt): TensorFlow before 1.2 compressed index blocks so.

Blocks are some kilobytes, so plain Python does.
"""

from __future__ import annotations

LARGEST_BLOCK = 1 << 24


def decompress(data: bytes) -> bytes:
    """Raises ValueError where the stream is damaged, or claims more than a block of an index can hold."""
    length, at = _length(data)
    if length > LARGEST_BLOCK:
        raise ValueError(f"a compressed block claims {length} bytes")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            size = tag >> 2
            if size >= 60:
                digits = size - 59
                size = int.from_bytes(data[at : at + digits], "little")
                at += digits
            size += 1
            if at + size > len(data):
                raise ValueError("a compressed block ends early")
            out += data[at : at + size]
            at += size
            continue
        if tag & 3 == 1:
            size, digits, high = (tag >> 2 & 7) + 4, 1, tag >> 5 << 8
        else:
            size, digits, high = (tag >> 2) + 1, 2 if tag & 3 == 2 else 4, 0
        offset = high | int.from_bytes(data[at : at + digits], "little")
        at += digits
        if not 0 < offset <= len(out) or len(out) + size > length:
            raise ValueError("a compressed block refers to what is not there")
        start = len(out) - offset
        for i in range(size):  # byte by byte: a copy may overlap itself
            out.append(out[start + i])
    if len(out) != length:
        raise ValueError(f"a compressed block holds {len(out)} bytes and claims {length}")
    return bytes(out)


def _length(data: bytes) -> tuple[int, int]:
    number = 0
    for at in range(min(5, len(data))):
        number |= (data[at] & 0x7F) << (7 * at)
        if data[at] < 0x80:
            return number, at + 1
    raise ValueError("a compressed block has no length")
