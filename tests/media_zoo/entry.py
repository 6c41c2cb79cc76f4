"""What one file of the zoo is, and what is right to read from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True)
class Shown:
    """Frame k, which carries number k, is shown from `times[k]` seconds on, the last one until `end`."""

    times: tuple[float, ...]
    end: float
    first: int = 0
    """The number that the first frame carries."""

    def on_grid(self, start: float | None = None, end: float | None = None, fps: int = 25) -> list[int]:
        """The number on the screen at each time of the grid; a millisecond is allowed for clocks that round."""
        begin = _exact(self.times[0] if start is None else start)
        count = math.ceil((_exact(self.end) - begin) * fps - Fraction(fps, 1000))
        if end is not None:
            count = min(count, round((_exact(end) - begin) * fps))
        at = (begin + Fraction(k, fps) + Fraction(1, 1000) for k in range(count))
        return [self.first + max(0, sum(_exact(t) <= when for t in self.times) - 1) for when in at]

    def between(self, start: float, end: float) -> list[int]:
        """Which frames, by their place, are on the screen at `start` and follow before `end`."""
        first = max(0, sum(t <= start + 0.001 for t in self.times) - 1)
        return [first, *(k for k, t in enumerate(self.times) if k > first and t < end - 1e-6)]


def _exact(seconds: float) -> Fraction:
    """The seconds without what floating point added."""
    return Fraction(round(seconds * 1_000_000), 1_000_000)


def even(fps: float | str, seconds: float = 2.0) -> Shown:
    numerator, _, denominator = str(fps).partition("/")
    rate = float(numerator) / float(denominator or 1)
    count = round(seconds * rate)
    return Shown(tuple(k / rate for k in range(count)), count / rate)


@dataclass(frozen=True)
class Entry:
    name: str
    """The file's name, with its suffix."""
    kind: str
    report: str
    """Where somebody met such a file: `owner/repository#number` on GitHub."""
    make: Callable[[Path], object]
    """Writes the file at this path."""
    shown: Shown = field(default_factory=lambda: even(25))
    refused: str | None = None
    """A pattern of the message, where the file is refused; None: it is read."""
    turned: int = 0
    """Quarter turns, counter-clockwise, after which the numbers stand upright."""
    encoder: str = "libx264"
    second_decoder: bool = True
    """Whether PyAV's frames, one after the other, are those of the file; not where it takes another stream."""
