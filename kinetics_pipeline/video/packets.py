"""The packets of a stream, one for each picture: when it is shown, and for how long, as the container says.

ffmpeg lists them while it decodes (a second output that copies), or alone, which decodes nothing.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.video.container import Container
from kinetics_pipeline.video.ffmpeg import command, running, untrusted_input

MICROSECONDS = 1_000_000
"""A second, in the unit of all times here and of the decoder's time stamps."""

_KEY, _CORRUPT, _DISCARD = 1, 2, 4
"""libavcodec's AV_PKT_FLAG_*."""
_SMALL = 64
"""A flag of ours, none of libavcodec's: the packet has at most `SMALL` bytes."""
SMALL = 24
_WITH_PARAMETERS = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "vvc")
_IN_THE_STREAM = ("mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v")
"""Formats whose parameter sets lie in the packets, where ffmpeg's `extract_extradata` finds them. Of others the demuxer
tells when they change."""
_BEFORE_ALL = 4 * 10**15
"""A number of ticks before any time stamp, exact in the floating point that ffmpeg calculates with."""
_LATEST = 2**61
"""Microseconds that no time stamp exceeds; twice as many do not fit into 64 bits."""
_TIME_BASE = re.compile(rb"#tb 0: (\d+)/(\d+)")
_PARAMETERS = re.compile(rb"New Extradata, +\d+, 0x([0-9a-f]+)")


class Packets:
    """The packets of one stream in the order of the file. One without a time stamp has that of the one before."""

    def __init__(self) -> None:
        self.times = array("q")
        """Time when each picture is shown, microseconds on the file's time stamps."""
        self.durations = array("q")
        """Microseconds; 0 where the container does not say."""
        self.flags = array("b")
        self.without_time = 0
        self.parameters: set[bytes] = set()
        """Checksums of the parameter sets seen (sizes, shape of the pixels): more than one when they change."""
        self._last = 0
        self._per_tick, self._ticks = 1, 1

    def take(self, line: bytes) -> bool:
        """One line of ffmpeg's `framecrc`. Whether it was a packet."""
        if line.startswith(b"#"):
            if m := _TIME_BASE.match(line):
                base = Fraction(int(m[1]), int(m[2])) * MICROSECONDS
                self._per_tick, self._ticks = base.numerator, base.denominator
            return False
        fields = line.split(b",", 6)
        if len(fields) > 6 and (m := _PARAMETERS.search(line)):
            self.parameters.add(m[1])
        try:
            time, duration, size = int(fields[2]), int(fields[3]), int(fields[4])
        except (ValueError, IndexError):
            return False  # a line cut off, because ffmpeg was stopped
        if max(time, duration) * self._per_tick > _LATEST * self._ticks:
            return False  # a damaged header
        if time < -_BEFORE_ALL // 2:
            self.without_time += 1
            if not self.times:
                return False
            time = self._last  # its picture is counted, beside the one before
        self._last = time
        flags = _KEY  # where ffmpeg names none
        if len(fields) > 6 and fields[6].startswith(b" F=0x"):
            flags = int(fields[6][5:7].rstrip(b",") or b"0", 16) & (_SMALL - 1)
        if size <= SMALL:
            flags |= _SMALL
        self.times.append(self._microseconds(time))
        self.durations.append(self._microseconds(duration))
        self.flags.append(flags)
        return True

    def _microseconds(self, ticks: int) -> int:
        """Rounds as libavutil's `av_rescale_q` does: to the nearest, halves away from zero."""
        twice = 2 * abs(ticks) * self._per_tick + self._ticks
        return twice // (2 * self._ticks) if ticks >= 0 else -(twice // (2 * self._ticks))

    def __len__(self) -> int:
        return len(self.times)

    def key(self, number: int) -> bool:
        return bool(self.flags[number] & _KEY)

    def corrupt(self, number: int) -> bool:
        return bool(self.flags[number] & _CORRUPT)

    def last_until(self, time: int) -> bool:
        """Whether a picture is shown at this time or later."""
        ends = np.frombuffer(self.times, np.int64) + np.frombuffer(self.durations, np.int64)
        return bool(len(ends)) and int(ends.max()) >= time

    def passes_over_whole_groups(self) -> bool:
        """Whether no picture is shown between a key picture and the next, at times when others were shown already:
        then fragments overlap, and the demuxer drops the later ones."""
        flags, times = np.frombuffer(self.flags, np.int8), np.frombuffer(self.times, np.int64)
        begins = np.flatnonzero(flags & _KEY)
        if not len(begins):
            return False
        shown = np.add.reduceat(self.shown().astype(np.int64), begins)
        latest = np.maximum.accumulate(times)
        return bool(((shown == 0) & (times[begins] < latest[begins])).any())

    def small(self) -> NDArray[np.bool_]:
        """Which packets have so few bytes that there may be no picture in them."""
        small: NDArray[np.bool_] = (np.frombuffer(self.flags, np.int8) & _SMALL) != 0
        return small

    def shown(self) -> NDArray[np.bool_]:
        """Which packets hold a picture that is shown: an edit list has others decoded only."""
        shown: NDArray[np.bool_] = (np.frombuffer(self.flags, np.int8) & _DISCARD) == 0
        return shown


def copy_arguments(container: Container, to: str, until: float | None = None) -> list[str]:
    """ffmpeg's arguments for an output that lists the packets of a stream, up to a time of its clock in seconds.

    Their decoding times are replaced by a number that grows, or ffmpeg would mend times that run backwards.
    """
    filters = f"setts=pts=PTS:dts=N-{_BEFORE_ALL}"
    video = container.video
    if container.format in _IN_THE_STREAM and video.codec in _WITH_PARAMETERS:
        filters = f"extract_extradata,{filters}"
    line = ["-map", f"0:{video.index}", "-c", "copy", "-copyinkf", "-bsf:v", filters]
    return [*line, *([] if until is None else ["-to", f"{until:.6f}"]), "-flush_packets", "1", "-f", "framecrc", to]


def list_packets(
    path: Path, container: Container, timeout: float, options: dict[str, Any] | None = None, until: float | None = None
) -> Iterator[Packets]:
    """The packets of a stream so far, after each new one. Reads the file but decodes nothing.

    `options`: those of ffmpeg for the input; None: from the beginning, time stamps as they are. Raises TimeoutError.
    """
    line = command(untrusted_input(path, **options or {"copyts": None}).output("-", format="null"), "fatal")
    line = [*line[: line.index("-f")], *copy_arguments(container, "-", until)]
    packets = Packets()
    with running(line, timeout) as run:
        for text in run.stdout:
            if packets.take(text):
                yield packets


def all_packets(
    path: Path, container: Container, timeout: float, options: dict[str, Any] | None = None, until: float | None = None
) -> Packets:
    """What `list_packets` lists, once it has come to an end."""
    packets = Packets()
    for packets in list_packets(path, container, timeout, options, until):  # noqa: B007
        pass
    return packets
