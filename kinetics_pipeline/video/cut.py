"""Which part of a file a clip is, and how ffmpeg is told: shared by the frames and by the segment."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from kinetics_pipeline.video.clock import NO_BREAK, Clock, TimeLine, continuous
from kinetics_pipeline.video.container import Container
from kinetics_pipeline.video.packets import MICROSECONDS, Packets, list_packets
from kinetics_pipeline.video.transport_stream import says_why

TOLERANCE = 0.001
"""Seconds by which a time stamp may lie after the grid's."""
MAX_GAP = 0.5
"""Seconds: a video whose first frame comes later than the clip's start by no more than this begins with that frame
repeated, as players show it; and a container may claim to last longer than its last frame by as much."""
SEEK_MARGIN = 2.0
"""Seconds before the clip at which decoding begins at the latest: containers index decoding times, which run ahead."""
BEHIND = 2.0
"""Seconds after the clip to which packets are listed: they are in the order of decoding."""


@dataclass(frozen=True)
class Cut:
    """What is cut from a file. Times are the file's own time stamps, seconds."""

    rate: Fraction
    start: float
    count: int | None
    """Frames of the clip; None to the end."""
    missing: int
    """Frames at the clip's start that the file does not hold."""
    lookahead: int
    from_first_frame: bool
    """Whether time is counted from the first frame that is decoded, whatever its time stamp."""
    clock: Clock = NO_BREAK

    @property
    def first(self) -> float:
        """The time of the first frame that is cut."""
        return self.start + float(self.missing / self.rate)

    @property
    def most(self) -> int | None:
        return None if self.count is None else max(0, self.count - self.missing) + self.lookahead

    @property
    def end(self) -> float | None:
        """The time at which the last frame that is cut, lookahead included, has been shown."""
        return None if self.most is None else self.first + float(self.most / self.rate)

    def seeks(self, container: Container) -> bool:
        """Whether it is right, and worth it, to begin anywhere but at the file's first frame."""
        worth = self.first - SEEK_MARGIN > container.start + SEEK_MARGIN
        return container.indexed and self.clock.pieces == 1 and not self.from_first_frame and worth

    def reading(self, container: Container, *, seek: bool = True) -> dict[str, Any]:
        """ffmpeg's options for the input: time stamps as they are, from a key frame before the cut.

        The frame on the screen at the clip's start may lie long before it, so what a seek decodes before the clip is
        not thrown away (`noaccurate_seek`).
        """
        options: dict[str, Any] = {"copyts": None, "noaccurate_seek": None}
        if seek and self.seeks(container):
            options |= {"ss": f"{self.first - SEEK_MARGIN:.6f}", "seek_timestamp": 1}
        return options

    def origin(self, container: Container, late: float = TOLERANCE) -> str:
        """ffmpeg's expression of the time stamp, in microseconds, that becomes zero; `late` seconds after the cut's."""
        if self.from_first_frame:
            return f"(STARTPTS+({round((self.first - container.video_start + late) * MICROSECONDS)}))"
        return f"({round((self.first + late) * MICROSECONDS)})"


def plan_cut(
    container: Container, start: float | None, end: float | None, rate: Fraction, lookahead: int, offset: float
) -> Cut:
    """Where seconds `[start, end)` of a video lie on the time stamps of a file whose time zero is second `offset`."""
    video_late = container.video_start - container.start > MAX_GAP
    # A file trimmed to the clip whose time stamps nevertheless begin far from zero kept those of the whole video.
    trimmed = offset > 0 and container.start > MAX_GAP
    zero = container.start if video_late else container.video_start
    if container.indexed and not trimmed:
        zero = min(0.0, container.video_start)  # players begin with the first picture also where it is below zero
    first = container.video_start if start is None else start - offset + zero
    from_first_frame = start is None or (not video_late and (trimmed or not container.indexed))
    count = None
    if end is not None:
        length = end - (start if start is not None else offset + container.video_start - zero)
        count = max(1, round(length * rate))
    gap = container.video_start - first
    missing = math.ceil((gap - TOLERANCE) * rate) if gap > MAX_GAP else 0
    return Cut(rate, first, count, missing, lookahead if count is not None else 0, from_first_frame)


@dataclass(frozen=True)
class Listed:
    """A cut in a file whose packets were listed before it is decoded."""

    cut: Cut
    packets: Packets
    line: TimeLine


def list_cut(path: Path, container: Container, cut: Cut, timeout: float) -> Listed:
    """Lists the packets up to the end of the cut and puts them on one time line.

    Raises BrokenVideo where pictures are missing and the file does not say why, TimeoutError.
    """
    packets = Packets()
    length = None if cut.end is None else (cut.end - container.video_start + BEHIND) * MICROSECONDS
    passed = first = latest = 0
    for packets in list_packets(path, container, timeout):
        stamp = packets.times[-1]
        if len(packets) == 1 or (packets.key(-1) and not 0 <= stamp - latest < BEHIND * MICROSECONDS):
            passed, first, latest = passed + latest - first, stamp, stamp
        latest = max(latest, stamp)
        if length is not None and passed + latest - first > length:
            break
    until = None if cut.end is None else round(cut.end * MICROSECONDS)
    explained = None
    if container.has_clock_without_index:
        explained = (lambda stamp: says_why(path, stamp)) if container.format == "mpegts" else (lambda _: False)
    line = continuous(packets, until, explained)
    return Listed(replace(cut, clock=line.clock), packets, line)
