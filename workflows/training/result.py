"""What came of a training: printed by the command, returned by the call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.redaction import counted, html_table
from kinetics_pipeline.workflows.runtime.progress import duration
from kinetics_pipeline.workflows.training.metrics import SCORES, main_score
from kinetics_pipeline.workflows.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainResult:
    """A run that is finished."""

    run: Path
    """Its folder, which `evaluate` and `predict` take."""
    steps: int
    loss: float
    """That of the last step."""
    seconds: float
    """Seconds of work: steps and evaluations, without the time in which the run lay stopped."""
    samples_per_second: float
    """Clips a second of all workers, the median over the steps."""
    bound: str
    """What limits the speed: `loader` or `compute`."""
    best: Mapping[str, Any] | None
    """`step`, `loss` and scores of the best evaluation; None where nothing was evaluated."""
    last: Mapping[str, Any] | None
    """The same of the last evaluation."""
    fingerprint: Mapping[str, str]
    """That of the dataset."""
    was_finished: bool = False
    """Whether there was nothing left to train."""

    @classmethod
    def read(cls, run: RunFolder, *, was_finished: bool = False) -> TrainResult:
        """The result in a run's folder. Raises JobFailed where it is damaged."""
        try:
            found = json.loads(run.results.read_bytes())
            numbers = {name: found[name] for name in ("steps", "loss", "seconds", "samples_per_second", "bound")}
            fingerprint = found["dataset"]["fingerprint"]
            return cls(
                run.path,
                **numbers,
                best=found["best"],
                last=found["last"],
                fingerprint=fingerprint,
                was_finished=was_finished,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{run.results} is damaged; give another --run") from error

    def __str__(self) -> str:
        text = f"{counted(self.steps, 'step')}, {self.samples_per_second:.1f} clips/s ({self.bound}-bound), "
        text += f"loss {self.loss:.3f}, {duration(self.seconds)}"
        if self.best is None:
            return text
        score = main_score(self.best)
        return f"{text}; best {SCORES[score]} {self.best[score]:.1%} at step {self.best['step']}"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [
            ("steps", self.steps),
            ("loss of the last step", f"{self.loss:.3f}"),
            ("clips a second", f"{self.samples_per_second:.1f}, {self.bound}-bound"),
            ("time", duration(self.seconds)),
        ]
        for name, scores in (("best evaluation", self.best), ("last evaluation", self.last)):
            if scores is not None:
                told = [f"{text} {scores[key]:.1%}" for key, text in SCORES.items() if scores.get(key) is not None]
                rows.append((name, f"step {scores['step']}: {', '.join(told)}, loss {scores['loss']:.3f}"))
        return html_table(str(self.run), rows)
