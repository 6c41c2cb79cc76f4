"""What a run says of itself: JSON lines for programs and the driver's terminal, and the same to its trackers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.models.training.loop import StepMetrics
from kinetics_pipeline.models.weights.torch_files import write_whole
from kinetics_pipeline.workflows.training.trackers import Tracker

SCORES = {
    "top1": "top-1",
    "top5": "top-5",
    "classification_map": "classification mAP",
    "localisation_map": "localisation mAP",
}
"""The scores of an evaluation and their names in text; clips of one label have the first two, of several actions the
last two."""
BOUND_ABOVE = 0.1
"""Share of a step spent waiting for the loader above which the loader is what limits the run."""


def main_score(scores: Mapping[str, Any]) -> str:
    """Name of the score by which the best weights of a run are chosen."""
    return next(name for name in SCORES if name in scores)


@dataclass(frozen=True)
class Speed:
    """Clips a second of all workers together."""

    samples: float
    """Trained on, over the last steps."""
    loader: float
    """The rate at which the loading processes could give clips if the network did not limit them."""
    compute: float
    """The rate at which the network could take clips if the loader did not limit it."""
    bound: str
    """`loader` or `compute`: which of them limits."""


class SpeedMeter:
    """Speed over the last steps; the first step of a session, which also sets up, does not count."""

    def __init__(self, workers: int, loaders: int, over: int = 20) -> None:
        self._workers, self._lanes, self._over = workers, max(1, loaders), over
        self._steps: list[tuple[int, float, float, float]] = []

    def step(self, clips: int, waiting: float, computing: float, loading: float) -> Speed:
        """Adds one worker's step: its clips, the seconds of waiting and of computing, and those its loaders worked."""
        self._steps = [*self._steps, (clips, waiting, computing, loading)][-self._over :]
        counted = self._steps[1:] or self._steps
        total, waited, computed, loaded = (sum(column) for column in zip(*counted, strict=True))
        bound = "loader" if waited > BOUND_ABOVE * (waited + computed) else "compute"
        rates = (total / (waited + computed), self._lanes * total / max(loaded, 1e-9), total / max(computed, 1e-9))
        samples, loader, compute = (round(self._workers * rate, 2) for rate in rates)
        return Speed(samples, loader, compute, bound)


class MetricsLog:
    """Writes the lines and tells the trackers; only in the process of rank 0. After a restart at `step` no line of a
    later one is left."""

    def __init__(self, metrics: Path, step: int, trackers: Sequence[Tracker]) -> None:
        _cut(metrics, step)
        self._lines: IO[str] = metrics.open("a", buffering=1)
        self._trackers = trackers
        self._write({"kind": "beginning", "step": step})

    def step(self, done: StepMetrics, speed: Speed) -> None:
        line = {
            "kind": "step",
            "step": done.step,
            "loss": done.loss,
            "top1": done.top1,
            "learning_rate": done.learning_rate,
            "gradient_norm": done.gradient_norm,
            "samples_per_second": speed.samples,
            "loader_samples_per_second": speed.loader,
            "compute_samples_per_second": speed.compute,
            "bound": speed.bound,
        }
        self._write(line)
        shown = {f"train/{name}": line[name] for name in ("loss", "top1", "learning_rate", "gradient_norm")}
        self._scalars(done.step, {**shown, "speed/samples_per_second": speed.samples})

    def evaluation(self, step: int, scores: dict[str, float], confusion: NDArray[np.int64] | None) -> None:
        self._write({"kind": "evaluation", "step": step, **scores})
        self._scalars(step, {f"val/{name}": value for name, value in scores.items()})
        if confusion is not None:
            rows = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
            self.picture("val/confusion", np.repeat((255 * rows)[..., None], 3, axis=2).astype(np.uint8), step)

    def picture(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """uint8 RGB [H, W, 3]."""
        for tracker in self._trackers:
            tracker.picture(step, name, picture)

    def note(self, step: int, text: str) -> None:
        self._write({"kind": "note", "step": step, "text": text})

    def close(self) -> None:
        self._lines.close()
        for tracker in self._trackers:
            tracker.close()

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        for tracker in self._trackers:
            tracker.scalars(step, values)

    def _write(self, line: dict[str, Any]) -> None:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        self._lines.write(json.dumps({**finite, "time": time.time()}) + "\n")


def _cut(metrics: Path, step: int) -> None:
    """Takes away the lines of steps that are done again, and one that was cut short. Replaces the file whole."""
    if not metrics.exists():
        return
    kept = [text for text, line in _parsed(metrics.read_text().splitlines(keepends=True)) if line["step"] <= step]
    write_whole(metrics, lambda file: file.write("".join(kept).encode()))


def _parsed(lines: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for text in lines:
        if text.endswith("\n"):
            try:
                yield text, json.loads(text)
            except ValueError:
                continue  # written over a crash of the machine


def seconds_of_work(lines: Iterable[Mapping[str, Any]]) -> float:
    """Seconds from each beginning to the last line before the next one, added up: without the time in which a run lay
    stopped, and without steps that were lost with a process and done again."""
    total, before = 0.0, None
    for line in lines:
        if before is not None and line["kind"] != "beginning":
            total += max(0.0, line["time"] - before)  # a clock may be set back
        before = line["time"]
    return total


class MetricsFollower:
    """Reads the lines as they are written by another process, of what is new since it was made."""

    def __init__(self, metrics: Path) -> None:
        self._path = metrics
        self._file, self._read = 0, 0
        self._seen = -math.inf
        """The time of the newest line given: a file that was replaced begins with lines that were given before."""
        self.new()

    def new(self) -> list[dict[str, Any]]:
        """Lines since the last call."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []
        if found.st_ino != self._file:
            self._file, self._read = found.st_ino, 0
        if found.st_size <= self._read:
            return []
        with self._path.open("rb") as lines:
            lines.seek(self._read)
            whole, newline, _ = lines.read(found.st_size - self._read).rpartition(b"\n")
        self._read += len(whole) + len(newline)
        parsed = (line for _, line in _parsed((whole + newline).decode().splitlines(keepends=True)))
        fresh = [line for line in parsed if line["time"] > self._seen]
        self._seen = max([self._seen, *(line["time"] for line in fresh)])
        return fresh
