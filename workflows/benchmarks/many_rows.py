"""What many annotation rows cost: `plan`, and a build over an empty source, where no clip is ever found. So the driver
alone is at work, and its time and memory are what the rows take.

`scale` prints and draws it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import msgspec
import numpy as np
import psutil
from rich.table import Table

from kinetics_pipeline.workflows.pictures.colours import Picture
from kinetics_pipeline.workflows.pictures.sheets import BAR, INK, written

COMMAND = (sys.executable, "-m", "kinetics_pipeline.workflows")
LOOK_EVERY = 1.0
AT_ONCE = 100_000
PLOT, LEFT, BELOW = (900, 260), 70, 34
PALE, EARLIER = (176, 176, 176), (110, 110, 110)

FIRST_ROWS, FIRST_PLAN, FIRST_BUILD, FIRST_DRIVER = 650_000, 24.0, 142.0, 1.3 * 2**30
"""What so many rows took before memory and time were looked at: seconds of `plan` and of `build`, and bytes of the
driver at most."""


class Look(msgspec.Struct):
    """Memory at one time: bytes that the driver takes, and all its processes with Ray's; shared pages count once."""

    second: float
    driver: int
    together: int


class Cost(msgspec.Struct):
    """What one number of rows took."""

    rows: int
    plan_seconds: float
    plan_processor: float
    seconds: float
    processor: float
    """Processor seconds of the driver."""
    looks: list[Look]

    @property
    def flat(self) -> int:
        """Bytes of the driver in the middle half of the build."""
        end = self.looks[-1].second
        return int(statistics.median(one.driver for one in self.looks if end / 4 <= one.second <= end * 3 / 4))

    def cells(self) -> list[str]:
        most, together = max(one.driver for one in self.looks), max(one.together for one in self.looks)
        numbers = (self.plan_seconds, self.plan_processor, self.seconds, self.processor)
        return [f"{one:.1f}" for one in numbers] + [f"{one / 1e6:.0f}" for one in (self.flat, most, together)]


def annotation_file(path: Path, rows: int) -> None:
    """Rows as Kinetics-700 has them, nearly all of different videos."""
    random = np.random.default_rng(0)
    letters = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", "S1")
    splits = ["train"] * 20 + ["val"] + ["test"] * 2
    with path.open("w") as file:
        file.write("label,youtube_id,time_start,time_end,split\n")
        for begin in range(0, rows, AT_ONCE):
            count = min(AT_ONCE, rows - begin)
            videos = np.ascontiguousarray(letters[random.integers(0, 64, (count, 11))]).view("S11")[:, 0].astype(str)
            starts, labels = random.integers(0, 600, count), random.integers(0, 700, count)
            cells = zip(labels, videos, starts, random.choice(splits, count), strict=True)
            file.writelines(
                f"class {la:03d},{video},{start},{start + 10},{split}\n" for la, video, start, split in cells
            )


def measure(rows: int, folder: Path) -> Cost:
    """Plans and builds so many rows; `folder` is empty, and takes a gigabyte for a million rows."""
    asked, source = folder / "asked.csv", folder / "empty"
    source.mkdir(parents=True)
    annotation_file(asked, rows)
    own = (str(asked), "--source", str(source), "--flow", "none", "--cache", str(folder / "cache"))
    plan_seconds, plan_processor, _ = _run((*COMMAND, "plan", *own))
    seconds, processor, looks = _run((*COMMAND, "build", *own, "--output", str(folder / "data")))
    return Cost(rows, plan_seconds, plan_processor, seconds, processor, looks)


def _run(command: Sequence[str]) -> tuple[float, float, list[Look]]:
    """Seconds of a command, processor seconds of its first process, and looks at its memory. Raises CalledProcessError
    where it fails."""
    begun, looks = time.monotonic(), list[Look]()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        used = 0.0
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.Error):
                looks.append(Look(time.monotonic() - begun, _bytes(driver), sum(map(_bytes, _all(driver)))))
                used = sum(driver.cpu_times()[:2])
            time.sleep(LOOK_EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - begun, used, [one for one in looks if one.driver]


def _all(driver: psutil.Process) -> Iterator[psutil.Process]:
    yield driver
    yield from driver.children(recursive=True)


def _bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def table(now: Sequence[Cost], before: Sequence[Cost]) -> Table:
    """A line for each number of rows, and above it what it took before and at first."""
    shown = Table("rows", "", box=None)
    for name in ("plan s", "its CPU s", "build s", "driver's CPU s", "driver MB", "at most", "all processes MB"):
        shown.add_column(name, justify="right")
    for cost in now:
        if cost.rows == FIRST_ROWS:
            first = (f"{FIRST_PLAN:.1f}", "", f"{FIRST_BUILD:.1f}", "", "", f"{FIRST_DRIVER / 1e6:.0f}", "")
            shown.add_row(f"{cost.rows}", "at first", *first)
        for one in before:
            if one.rows == cost.rows:
                shown.add_row(f"{one.rows}", "before", *one.cells())
        shown.add_row(f"{cost.rows}", "now", *cost.cells())
    return shown


def draw(now: Sequence[Cost], before: Sequence[Cost]) -> Picture:
    """Memory over time, a panel for each number of rows."""
    return np.concatenate([_panel(cost, [one for one in before if one.rows == cost.rows]) for cost in now])


def _panel(cost: Cost, before: Sequence[Cost]) -> Picture:
    wide, high = PLOT
    plot = np.full((high + BELOW, wide + LEFT + 20, 3), 255, np.uint8)
    everything = [look for one in (cost, *before) for look in one.looks]
    longest = max(look.second for look in everything)
    first = FIRST_DRIVER if cost.rows == FIRST_ROWS else 0.0
    top = 1.05 * max(first, *(look.together for look in everything))

    def curve(looks: Sequence[Look], name: str, colour: tuple[int, int, int], thickness: int) -> None:
        points = [(LEFT + x.second / longest * wide, high - getattr(x, name) / top * high) for x in looks]
        cv2.polylines(plot, [np.array(points).round().astype(np.int32)], False, colour, thickness, cv2.LINE_AA)

    for part in range(5):
        y, x = round(high * (1 - part / 4 * 0.95)), round(LEFT + wide * part / 4)
        cv2.line(plot, (LEFT, y), (LEFT + wide, y), (228, 228, 228), 1)
        for text, place in (
            (f"{top * part / 4 * 0.95 / 1e6:.0f} MB", (4, max(y + 4, 12))),
            (f"{longest * part / 4:.0f} s", (x - 12, high + 20)),
        ):
            cv2.putText(plot, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    if first:
        at = round(high * (1 - first / top))
        cv2.line(plot, (LEFT, at), (LEFT + wide, at), EARLIER, 1)
        cv2.putText(plot, "driver at first, at most", (LEFT + 6, at + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, 16)
    for one in before:
        curve(one.looks, "together", PALE, 1)
        curve(one.looks, "driver", EARLIER, 2)
    curve(cost.looks, "together", BAR, 1)
    curve(cost.looks, "driver", BAR, 3)
    lines = [f"{cost.rows} rows: thick the driver, thin all processes" + (", grey before" if before else "")]
    return np.concatenate([written(lines, plot.shape[1], 0.55), plot])
