"""Plays simulated builds for a while, seed after seed, and stops at the first that breaks an invariant.

    python -m workflows.benchmarks.simulate [--seconds N] [--seed S] [--runs N] [--planted FAULT]

The shipped driver, lease, dataset and commit run in one process on simulated time (`simulation`). A failing seed is
printed; `--seed S --runs 1` plays that run again, the same to the last message.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

from kinetics_pipeline.workflows.benchmarks.simulation.bucket import Fault
from kinetics_pipeline.workflows.benchmarks.simulation.invariants import Violation
from kinetics_pipeline.workflows.benchmarks.simulation.scenario import Report, play
from kinetics_pipeline.workflows.benchmarks.simulation.world import Endless


@dataclass
class Campaign:
    """What came of many runs."""

    runs: int = 0
    kills: int = 0
    hours: float = 0.0
    """Simulated."""
    endings: Counter[str] = field(default_factory=Counter)
    failed_seed: int | None = None
    failure: str = ""

    def add(self, report: Report) -> None:
        self.runs += 1
        self.kills += report.kills
        self.hours += report.seconds / 3600
        self.endings.update(ending.partition(":")[0] for ending in report.endings)


def campaign(seed: int, *, seconds: float = 60.0, runs: int | None = None, planted: Fault = "") -> Campaign:
    """Plays the runs of `seed`, `seed` + 1, ... until time or number is up, or one fails."""
    result = Campaign()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and (runs is None or result.runs < runs):
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # what commands tell their users
                report = play(seed + result.runs, planted)
        except (Violation, Endless) as error:
            result.failed_seed, result.failure = seed + result.runs, f"{type(error).__name__}: {error}"
            return result
        except Exception:  # noqa: BLE001  a defect of the shipped code, to be shown whole
            result.failed_seed, result.failure = seed + result.runs, traceback.format_exc()
            return result
        result.add(report)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, help="at most so many")
    parser.add_argument("--planted", choices=[fault for fault in get_args(Fault) if fault], default="")
    asked = parser.parse_args()
    began = time.monotonic()
    result = campaign(asked.seed, seconds=asked.seconds, runs=asked.runs, planted=asked.planted)
    print(
        f"{result.runs} runs in {time.monotonic() - began:.0f} s, {result.hours:.0f} hours of simulated time, "
        f"{result.kills} kills; endings of commands: "
        + ", ".join(f"{name} {number}" for name, number in result.endings.most_common())
    )
    if result.failed_seed is not None:
        again = f"--planted '{asked.planted}' " if asked.planted else ""
        print(f"seed {result.failed_seed} fails: {result.failure}")
        raise SystemExit(f"python -m workflows.benchmarks.simulate {again}--seed {result.failed_seed} --runs 1")


if __name__ == "__main__":
    main()
