"""What long work says while it runs: a bar on a terminal or in a notebook, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from kinetics_pipeline.workflows.runtime.notebook import NotebookBar, in_notebook

LINE_EVERY = 15.0
"""Seconds between the lines of a log."""


def duration(seconds: float) -> str:
    """`43 d 2 h`, `1 h 05 min`, `2 min 10 s`, `8 s`."""
    seconds = max(0, round(seconds))
    days, hours, minutes = seconds // 86400, seconds // 3600, seconds // 60
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds % 60:02d} s" if minutes else f"{seconds} s"


def precise_duration(seconds: float) -> str:
    """What `duration` says, with a decimal below ten seconds."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def size(count: float) -> str:
    """`1.2 GB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


class Meter:
    """Progress through a known number of things, with rate and time left. Writes to stderr."""

    def __init__(self, total: int, things: str, *, done: int = 0) -> None:
        self.total, self.things = total, things
        self.done = done
        self.began_with, self.began = done, time.monotonic()
        self.note = ""
        self.left: float | None = None
        """Seconds left, where the caller knows better than the mean rate so far."""
        self.is_stalled = False
        """Whether nothing goes on, so that nobody knows how long it will take."""
        self._console = Console(stderr=True, force_jupyter=False)
        self._bar: Progress | None = None
        self._last_line = time.monotonic()
        self._notebook = NotebookBar() if in_notebook() else None
        if self._console.is_terminal and self._notebook is None:
            self._bar = Progress(
                BarColumn(bar_width=20),
                TextColumn("{task.fields[text]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total, completed=done, text="")

    def __enter__(self) -> Meter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self._notebook is not None:
            self._notebook.show(self.done, self.total, self.text(), ended=True)
            return
        self._console.print(self.text(), highlight=False, soft_wrap=True)

    @property
    def rate(self) -> float:
        """Things a second since the beginning; 0 while there is nothing to go by."""
        elapsed = time.monotonic() - self.began
        return (self.done - self.began_with) / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def text(self) -> str:
        return " · ".join([*self._parts(), *filter(None, [self.note])])

    def _parts(self) -> list[str]:
        parts = [f"{self.done} of {self.total} {self.things}"]
        if self.rate > 0:
            parts.append(f"{self.rate:.2f}/s" if self.rate < 10 else f"{self.rate:.0f}/s")
            left = self.left if self.left is not None else self.seconds_left
            if self.done < self.total and left is not None and not self.is_stalled:
                parts.append(f"{duration(left)} left")
        return parts

    def at(self, done: int, note: str = "") -> None:
        """Says how far it is; `note` is a short text behind the numbers."""
        self.done, self.note = done, note
        if self._notebook is not None:
            self._notebook.show(done, self.total, self.text())
        elif self._bar:
            text = " · ".join(self._parts()) + (f"\n{note}" if note else "")  # in 80 columns, whatever the note
            self._bar.update(self._task, completed=done, text=text)
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            print(self.text(), file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        if self._notebook is not None:
            self._notebook.say(line)
            return
        self._console.print(line, highlight=False, soft_wrap=not self._console.is_terminal, markup=False)
