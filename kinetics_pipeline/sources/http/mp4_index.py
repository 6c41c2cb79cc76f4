"""Which bytes of a fragmented MP4 hold which seconds, by its `sidx` box (ISO/IEC 14496-12, 8.16.3). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEAD = 1 << 16
"""Bytes asked for first. YouTube's ftyp, moov and sidx fit for videos of many hours."""
MOST_HEAD = 1 << 22


@dataclass(frozen=True)
class Segment:
    """One entry of the index: seconds `[begins, ends)` lie in bytes `[first, stop)`."""

    begins: float
    ends: float
    first: int
    stop: int
    is_entry: bool
    """Starts with a picture that decodes by itself (a stream access point)."""


@dataclass(frozen=True)
class Index:
    head: int
    """Bytes of ftyp and moov, which a decoder needs before any segment."""
    segments: tuple[Segment, ...]

    @property
    def duration(self) -> float:
        """Seconds at which the last segment ends."""
        return self.segments[-1].ends

    @property
    def stop(self) -> int:
        return self.segments[-1].stop


@dataclass(frozen=True)
class Span:
    """Segments `first..last` (inclusive), fetched as one file."""

    first: int
    last: int


def read_index(head: bytes) -> Index | int | None:
    """The index at the start of a file, of which `head` is the beginning.

    An int is the number of bytes that must be known to tell; None says that there is no index that can be used (no
    fragmented MP4, an index of indices, or a damaged one).
    """
    moov = 0
    position = 0
    for kind, position, header, size in _boxes(head):
        end = position + size
        if kind == b"sidx":
            if end > len(head):
                return end if end <= MOST_HEAD else None
            return _parse(head[position + header : end], end, moov) if moov else None
        if kind == b"moov":
            moov = end
        elif kind in (b"moof", b"mdat"):
            return None
        if end > len(head):
            return end + 16 if end + 16 <= MOST_HEAD else None
        position = end
    if position + 16 > len(head) and moov:
        return position + 16 if position + 16 > len(head) else None
    return None


def spans(index: Index, intervals: Sequence[tuple[float, float]]) -> list[Span]:
    """The segments that hold `intervals` (seconds), each from a picture that decodes by itself; touching ones are one.

    An interval that lies wholly beyond the end has no segment.
    """
    found: list[Span] = []
    for begins, ends in intervals:
        inside = [i for i, s in enumerate(index.segments) if s.ends > begins and s.begins < ends]
        if not inside:
            continue
        first = inside[0]
        while first > 0 and not index.segments[first].is_entry:
            first -= 1
        found.append(Span(first, inside[-1]))
    merged: list[Span] = []
    for span in sorted(found, key=lambda s: (s.first, s.last)):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return merged


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Type, position, header bytes and whole size of the boxes that begin in `data` (8.1 of the standard's part 12)."""
    position = 0
    while position + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        if size < header:
            return  # 0: up to the end of the file; less: damaged
        yield kind, position, header, size
        position += size


def _parse(body: bytes, anchor: int, moov: int) -> Index | None:
    try:
        version = body[0]
        _, timescale = struct.unpack_from(">II", body, 4)
        earliest, offset = struct.unpack_from(">II" if version == 0 else ">QQ", body, 12)
        at = 20 if version == 0 else 28
        _, count = struct.unpack_from(">HH", body, at)
        entries = list(struct.iter_unpack(">III", body[at + 4 : at + 4 + 12 * count]))
    except (struct.error, IndexError):
        return None
    if timescale == 0 or not entries or len(entries) != count:
        return None
    segments, time, first = [], earliest, anchor + offset
    for size, duration, access in entries:
        if size >> 31 or not size:
            return None  # points to another index
        stop = first + size
        segments.append(Segment(time / timescale, (time + duration) / timescale, first, stop, bool(access >> 31)))
        time, first = time + duration, stop
    return Index(moov, tuple(segments))
