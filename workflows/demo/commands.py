"""Runs the commands that the demo shows, each as a user would: its own process, its output in a log."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from rich.console import Console

from kinetics_pipeline.errors import JobFailed

POLL_SECONDS = 0.02
STOP_SECONDS = 20.0
SETTINGS = {"PYTHONUNBUFFERED": "1", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
"""One thread for each command: networks this small gain little from a second one, and lose much on a busy machine,
where threads spin while they wait for each other."""


class Commands:
    """`kinetics-pipeline ...` commands, printed before they run. A log of each lies in `logs`."""

    def __init__(self, console: Console, logs: Path) -> None:
        self._console, self._logs = console, logs
        logs.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, *words: str) -> str:
        """Runs a command and returns what it wrote to stdout. Raises JobFailed with its last line when it fails."""
        (outcome,) = self.run_together({name: words})
        return outcome

    def run_together(self, commands: Mapping[str, Sequence[str]]) -> list[str]:
        """Runs commands side by side and returns what each wrote to stdout. When one fails, ends the others and raises
        JobFailed with its last line."""
        started = {name: self._start(name, words) for name, words in commands.items()}
        try:
            with self._working(" and ".join(started)):
                for name, (process, log) in started.items():
                    if code := _wait(process):
                        raise JobFailed(f"{name} ended with {code}: {_last_line(log)} (its log: {log})")
        finally:
            for process, _ in started.values():
                _end(process)
        return [log.with_suffix(".out").read_text(errors="replace") for _, log in started.values()]

    def kill_when(self, name: str, *words: str, event: Callable[[], bool]) -> bool:
        """Starts a command and ends it with SIGKILL once `event` is seen; False when it finished before.

        Raises JobFailed when it ended by itself with an error.
        """
        process, log = self._start(name, words)
        with self._working(name):
            while not event():
                try:
                    code = _wait(process, POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
                if code:
                    raise JobFailed(f"{name} ended with {code}: {_last_line(log)} (its log: {log})")
                return False
            process.kill()
            return process.wait() == -signal.SIGKILL

    def _start(self, name: str, words: Sequence[str]) -> tuple[subprocess.Popen[bytes], Path]:
        self._console.print(f"  $ kinetics-pipeline {shlex.join(words)}", style="dim", markup=False)
        log = self._logs / f"{name}.err"
        # The videos are served on loopback, which the nodes of another cluster cannot reach.
        environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        with log.open("wb") as err, log.with_suffix(".out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "kinetics_pipeline.workflows", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment | SETTINGS,
            )
        return process, log

    def _working(self, name: str) -> AbstractContextManager[object]:
        """A spinner on a terminal; nothing elsewhere."""
        return self._console.status(f"{name} ...") if self._console.is_terminal else nullcontext()


def _wait(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
    """The exit code. On Ctrl-C the command, which got the signal too, is given time to end."""
    try:
        return process.wait(timeout)
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks a command that still runs to end, and ends it when it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
