"""How long the rest of a plan takes, and between which bounds that is in eight cases of ten.

From three things: the rate at which clips came out lately, how much that rate has varied, and how long single clips
take, since the last ones keep the cores busy unevenly. Pure functions of what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

LEAST_MADE = 3
"""Clips behind those that the cores began with, before a rate is told."""
MOST_POINTS = 1000
"""Entries of `Made` from which neighbours are joined."""
EIGHT_IN_TEN = 1.28
"""Standard deviations on both sides of a mean that hold eight of ten values of a normal distribution."""
SPANS = 8
"""Parts of the time so far whose rates are compared."""
LOOK_BACK, LEAST_BACK, LEAST_COUNTED = 0.6, 60.0, 20
"""The rate is that of the last while: as long as this share of what is left, but so many seconds and clips at least."""
DRIFT, MOST_AHEAD = 0.10, 15.0
"""Share by which a rate changes over a time as long as it was watched (machines get other work, clips other sizes), and
how many times that long it is taken to go on changing."""
LASTING = 0.4
"""Share of the variance between spans that does not average out over many of them."""
WRITING = 1.0
"""Seconds for the last shard, where none was written yet."""

Range = tuple[float, float, float]
"""Seconds that are expected, and the lower and the upper bound."""


class Made:
    """When clips of a plan came out: at most `MOST_POINTS` entries, whatever their number."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = []
        """(monotonic seconds, clips that came out since the entry before), oldest first."""
        self.count = 0

    def add(self, now: float) -> None:
        """One clip came out."""
        self.count += 1
        if self.points and self.points[-1][0] == now:
            self.points[-1] = now, self.points[-1][1] + 1
            return
        self.points.append((now, 1))
        if len(self.points) > MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=False)  # the odd last one stays as it is
            self.points = [(later, one + other) for (_, one), (later, other) in pairs] + self.points[-1:]

    def take_back(self) -> None:
        """The latest one is to be made again."""
        if self.points:
            self.count -= 1
            when, number = self.points.pop()
            if number > 1:
                self.points.append((when, number - 1))


def time_left(
    made: Sequence[tuple[float, int]],
    now: float,
    left: int,
    *,
    at_once: int,
    taken: Sequence[float] = (),
    writing: float = WRITING,
) -> Range | None:
    """Seconds until `left` more clips have come out; None while too few have to say.

    made: (monotonic seconds, clips) as `Made.points`. at_once: clips that can be worked on at a time; as many at the
    beginning tell no rate, because processes had to start. taken: seconds that single clips took lately. writing:
    seconds for the last shard.
    """
    seen = _after_the_start(made, at_once)
    if seen is None or now <= seen[0][0]:
        return None
    began, counted = seen[0][0], seen[1:]
    number, elapsed = sum(one for _, one in counted), now - began
    if number < LEAST_MADE:
        return None
    ahead = left * elapsed / number
    lately = min(elapsed, max(LOOK_BACK * ahead, LEAST_BACK, LEAST_COUNTED * elapsed / number))
    recent = sum(one for when, one in counted if when >= now - lately)
    if recent < LEAST_MADE:
        recent, lately = number, elapsed
    rate = recent / lately
    last = min(left, at_once, max(1, round(rate * fmean(taken)))) if taken else 1  # that are at work at the end
    rest = (left - last) / rate
    noise = 0.15 * (1 / recent + 1 / max(1, left - last))
    drift = DRIFT**2 * (1 + min(MOST_AHEAD, rest / elapsed))
    share = math.exp(EIGHT_IN_TEN * math.sqrt(max(_varied(counted, began, now, lately, rest, recent), noise) + drift))
    soonest, usually, latest = (longest_of(taken, last, quantile) for quantile in (0.1, 0.5, 0.9))
    return rest + usually + writing, rest / share + soonest + writing / 3, rest * share + latest + 2 * writing


def _after_the_start(made: Sequence[tuple[float, int]], at_once: int) -> list[tuple[float, int]] | None:
    """The entries without the first `at_once` clips, or a third of all where there are few; the first entry says when
    those were there, with clips beyond them."""
    leave_out = min(at_once, max(1, sum(number for _, number in made) // 3))
    for place, (when, number) in enumerate(made):
        leave_out -= number
        if leave_out <= 0:
            return [(when, -leave_out), *made[place + 1 :]]
    return None


def _varied(
    counted: Sequence[tuple[float, int]], began: float, now: float, lately: float, ahead: float, recent: int
) -> float:
    """Relative variance of the mean rate over the last `lately` seconds beside that over the next `ahead`, by how much
    the rates of spans of the time so far differ."""
    number = sum(one for _, one in counted)
    spans = min(SPANS, number // 2)
    if spans < 2:
        return 2.25 / recent
    long = (now - began) / spans
    counts = [0] * spans
    for when, one in counted:
        counts[min(spans - 1, int((when - began) / long))] += one
    few = 1 + 1.2 / (spans - 1)  # as Student's t has it for few values
    differ = few * stdev(counts) / fmean(counts)
    return differ**2 * (long / lately + long / max(ahead, long) + LASTING)


def longest_of(taken: Sequence[float], count: int, quantile: float) -> float:
    """A quantile of the seconds until the last of `count` clips ends that are at work now, begun at any time, of which
    single ones take as long as `taken`: by the distribution of residual lives of a renewal process.

    >>> longest_of([4.0], 1, 0.5), longest_of([4.0], 2, 0.25), longest_of([], 1, 0.5)
    (2.0, 2.0, 0.0)
    """
    if not taken:
        return 0.0
    ordered = sorted(taken)
    share, reached, before, whole = math.pow(quantile, 1 / count), 0.0, 0.0, sum(ordered)
    for place, seconds in enumerate(ordered):
        step = (seconds - before) * (len(ordered) - place) / whole if whole else 1.0
        if reached + step >= share:
            return before + (share - reached) / step * (seconds - before)
        reached, before = reached + step, seconds
    return ordered[-1]
