"""One continuous time line for a stream whose clock does not run through.

Broadcasts, recordings of live streams and files joined end to end start their clock again, and players go on with the
next picture. So do we: wherever the time stamps run backwards, or jump ahead and the container says why, what follows
is moved to the end of what came before. A jump ahead by more than `MAX_JUMP` for which the container gives no reason
means that something is missing, and such a file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.video.container import BrokenVideo
from kinetics_pipeline.video.packets import MICROSECONDS, Packets

MAX_JUMP = 1.01
"""Seconds between two pictures, in a container that has no index: a picture a second is common, slower is not, and a
hundredth is for clocks that round."""
MAX_PIECES = 500
"""A command line holds no more of them."""
WRAP = 2**33 * MICROSECONDS // 90_000
"""Microseconds after which the clock of MPEG starts again (ISO/IEC 13818-1: 33 bits at 90 kHz). ffmpeg takes a clock
that starts again for one that ran over, and adds this."""


@dataclass(frozen=True)
class Clock:
    """How time stamps become times of the time line, in microseconds."""

    starts: tuple[int, ...] = ()
    """The earliest time stamp of each piece but the first."""
    shifts: tuple[int, ...] = ()
    """What is added to the time stamps of each piece but the first."""
    period: int = 0
    """The usual time from one picture to the next."""

    @property
    def pieces(self) -> int:
        return len(self.starts) + 1

    def expression(self, length: str = "") -> str:
        """ffmpeg's `setpts` expression of the time on the time line, for frames in the order in which they are shown.

        It counts the pieces as they pass (variable 0): the next one begins where a time stamp is nearer to its start
        than to what would follow the frame before. `length`: the expression of a frame's length, for sound.
        """
        if not self.starts:
            return "PTS"
        following = f"PREV_INPTS+{length or self.period}"
        passed = f"lt(abs(PTS-({_steps([*self.starts, 1 << 60])})),abs(PTS-({following})))"
        return f"(st(0,ld(0)+{passed})*0+PTS+({_steps([0, *self.shifts])}))"


NO_BREAK = Clock()


def _steps(values: Sequence[int]) -> str:
    """An expression that gives `values[variable 0]`."""
    rises = (f"+gte(ld(0),{k})*({b - a})" for k, (a, b) in enumerate(pairwise(values), 1))
    return f"{values[0]}{''.join(rises)}"


@dataclass(frozen=True)
class TimeLine:
    clock: Clock
    times: NDArray[np.int64]
    """Time stamp of each packet, microseconds, in the order of the file."""

    @property
    def last(self) -> int:
        """The time when the last picture begins."""
        return int(self.times.max()) if len(self.times) else 0


def continuous(packets: Packets, until: int | None, explained: Callable[[int], bool] | None) -> TimeLine:
    """The time line of the packets, which begins with the first one's time stamp.

    `explained`: whether the container says why the clock jumps ahead to a time stamp; None: it says how long each
    picture is shown, so that a jump is not a break. `until`: the time on the line after which nothing matters; None:
    everything matters. Raises BrokenVideo where something is missing.
    """
    stamps = np.frombuffer(packets.times, np.int64)
    if not len(stamps):
        return TimeLine(Clock(), np.empty(0, np.int64))
    period = _period(stamps)
    times = np.empty_like(stamps)
    starts, shifts = [], []
    end = int(stamps[0])
    for number, (part, runs_ahead) in enumerate(_parts(packets, stamps, explained is not None)):
        first, last = int(stamps[part].min()), int(stamps[part].max())
        if number == 0:
            times[part], end = stamps[part], last + period
            continue
        if explained and runs_ahead and (until is None or end < until) and not explained(first):
            at = _seconds(end - period - int(stamps.min()))
            raise BrokenVideo(
                f"pictures are missing: after {at} s the clock jumps ahead, and the file does not say why"
            )
        starts.append(first)
        shifts.append(end - first)
        times[part] = stamps[part] + shifts[-1]
        end += last - first + period
    if len(starts) > MAX_PIECES:
        raise BrokenVideo(f"the clock starts again {len(starts)} times; allowed: {MAX_PIECES}")
    line = TimeLine(Clock(tuple(starts), tuple(shifts), period), times)
    if explained:
        _require_nothing_lost(packets, line, until)
    return line


def runs_back(packets: Packets) -> bool:
    """Whether the clock runs backwards. Pictures that an edit list has decoded only do not count."""
    latest = None
    for number in np.flatnonzero(packets.shown()).tolist():
        stamp = packets.times[number]
        if latest is not None and packets.key(number) and (stamp < latest or stamp - WRAP // 2 > latest):
            return True
        latest = stamp if latest is None else max(latest, stamp)
    return False


def _parts(packets: Packets, stamps: NDArray[np.int64], jumps: bool) -> Iterator[tuple[NDArray[np.int64], bool]]:
    """The numbers of the packets between two breaks of the clock, and whether it had run ahead to the first of them.

    A break is where the clock runs backwards (a key picture is earlier than one before it), and with `jumps` where the
    next picture that is shown comes more than `MAX_JUMP` later.
    """
    cuts = []
    latest = int(stamps[0])
    for number, stamp in enumerate(stamps.tolist()):
        if packets.key(number) and (stamp < latest or stamp - WRAP // 2 > latest):
            cuts.append(number)
            latest = stamp
        latest = max(latest, stamp)
    for piece in np.split(np.arange(len(stamps)), cuts):
        order = piece[np.argsort(stamps[piece], kind="stable")]
        ahead = np.flatnonzero(np.diff(stamps[order]) > (MAX_JUMP if jumps else math.inf) * MICROSECONDS) + 1
        for number, part in enumerate(np.split(order, ahead)):
            yield part, number > 0


def _period(stamps: NDArray[np.int64]) -> int:
    """Microseconds from one picture to the next, the median."""
    steps = np.diff(np.sort(stamps))
    steps = steps[steps > 0]
    return int(np.median(steps)) if len(steps) else MICROSECONDS // 25


def _require_nothing_lost(packets: Packets, line: TimeLine, until: int | None) -> None:
    """Raises BrokenVideo where a packet is marked as damaged and something is missing beside it.

    A counter that starts again where two files were joined marks the last packets before the joint too, but there a key
    picture follows, and no time is missing.
    """
    order = np.argsort(line.times, kind="stable")
    steps = np.diff(line.times[order])
    for place, number in enumerate(order.tolist()):
        if not packets.corrupt(number):
            continue
        around = steps[max(0, place - 2) : place + 2]
        gap = len(around) > 0 and around.max() > 1.5 * line.clock.period
        follows = range(number + 1, min(number + 3, len(packets)))
        joint = any(packets.key(k) for k in (number, *follows)) or number + 3 > len(packets)
        at = int(line.times[number])
        if (gap or not joint) and (until is None or at < until):
            raise BrokenVideo(f"something is missing at {_seconds(at - int(line.times.min()))} s: packets were lost")


def _seconds(microseconds: int) -> str:
    return f"{microseconds / MICROSECONDS:.2f}"
