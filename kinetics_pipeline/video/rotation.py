"""Whether the rotation of a stream changes: in H.264 and HEVC a picture can say how it is to be rotated.

The message is the supplemental one called display orientation (ITU-T H.264, D.1.27; H.265, D.2.17). It holds until the
next picture that begins a sequence. ffmpeg rotates all pictures as the first one says, so where two differ some would
lie on their side. In mp4 and Matroska the container says it, once for the whole stream.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from kinetics_pipeline.video.container import Container
from kinetics_pipeline.video.transport_stream import payloads

MOST_BYTES = 512 << 20
"""A larger file with such a message is not looked at: a transport stream is taken apart in memory."""
_ORIENTATION = 47
_UNITS = {
    "h264": re.compile(rb"\0\0\x01(?:\x06((?:(?!\0\0[\0\x01]).)+)|[\x25\x45\x65]([\x80-\xff]))", re.DOTALL),
    "hevc": re.compile(rb"\0\0\x01(?:\x4e\x01((?:(?!\0\0[\0\x01]).)+)|[\x20-\x2b]\x01([\x80-\xff]))", re.DOTALL),
}
"""Units of supplemental messages, and the first slice of a picture that begins a sequence."""
_MAY_HOLD_MESSAGE = {
    "h264": re.compile(rb"\0\0\x01\x06(?:(?!\0\0\x01).){0,1000}?\x2f[\x03-\x05]", re.DOTALL),
    "hevc": re.compile(rb"\0\0\x01\x4e\x01(?:(?!\0\0\x01).){0,1000}?\x2f[\x03-\x05]", re.DOTALL),
}
"""Such a unit with the message's number and size in it; a quick look that finds a few too many."""


def rotation_changes(path: Path, container: Container) -> bool:
    """Whether two pictures of the stream are to be rotated differently."""
    codec = container.video.codec
    if codec not in _UNITS or container.format not in ("mpegts", codec):
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(data) > MOST_BYTES or not _MAY_HOLD_MESSAGE[codec].search(data):
            return False
        streams = payloads(path) if container.format == "mpegts" else [bytes(data)]
    return any(len(_orientations(stream, codec)) > 1 for stream in streams)


def _orientations(stream: bytes, codec: str) -> set[int]:
    """What the pictures that begin a sequence, and the messages, say: 0 for one that stands upright. Empty for a stream
    without a message."""
    found: set[int] = set()
    said: int | None = None
    has_message = False
    for unit, _ in _UNITS[codec].findall(stream):
        if unit:
            for content in _messages(unit):
                bits = int.from_bytes(content[:3], "big")
                cancelled = bits >> 23
                said = 0 if cancelled else bits >> 5 & 0x3FFFF  # both flips, and 16 bits of a full rotation
                found.add(said)
                has_message = True
        else:
            found.add(said or 0)
            said = None
    return found if has_message else set()


def _messages(unit: bytes) -> Iterator[bytes]:
    """The content of the messages of orientation in a unit (ITU-T H.264, 7.3.2.3.1)."""
    unit = unit.replace(b"\0\0\x03", b"\0\0")
    at = 0
    while at + 2 < len(unit):
        kind = size = 0
        while at < len(unit) and unit[at] == 0xFF:
            kind, at = kind + 255, at + 1
        kind, at = kind + unit[at : at + 1].ljust(1, b"\0")[0], at + 1
        while at < len(unit) and unit[at] == 0xFF:
            size, at = size + 255, at + 1
        size, at = size + unit[at : at + 1].ljust(1, b"\0")[0], at + 1
        if kind == _ORIENTATION and size >= 3:
            yield unit[at : at + size]
        at += size
