"""`--notify`: the user's own command, run when a build ends, fails, or has an address paused.

The command is a list of words and never a text for a shell. What happened stands in its environment, and as JSON on its
standard input. A command that hangs or fails harms nothing: it and what it started (its process group) are ended after
`TIME_LIMIT`, or `LAST_NOTICE` after the build, and a line tells of it. So none outlives a build that comes to its end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from kinetics_pipeline.redaction import visible
from kinetics_pipeline.workflows.runtime.progress import precise_duration

TIME_LIMIT = 60.0
"""Seconds that a command may take."""
LAST_NOTICE = 10.0
"""Seconds that commands have at the end before the build ends them."""
AT_ONCE = 4
"""Commands that may run at a time: a pause that comes while so many hang is left out. The end never is."""
ENDS_WITHIN = 5.0
"""Seconds in which a process that was killed is gone."""


class Notifier:
    """Runs the command in threads of its own."""

    def __init__(self, words: Sequence[str], say: Callable[[str], None], *, time_limit: float = TIME_LIMIT) -> None:
        """`say`: told in a line of a command that failed."""
        self._words, self._say, self._time_limit = list(words), say, time_limit
        self._threads: list[threading.Thread] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._is_over = False
        """Whether commands that still run are ended."""

    def tell(self, event: str, facts: Mapping[str, object]) -> None:
        """`event`: `ended`, `failed`, `stopped` or `paused`. Returns at once."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if event == "paused" and len(self._threads) >= AT_ONCE:
            self._say(f"--notify: not run ({event}), as {len(self._threads)} commands before it still run")
            return
        thread = threading.Thread(target=self._run, args=(event, {"event": event, **facts}), daemon=True)
        thread.start()
        self._threads.append(thread)

    def end(self, seconds: float = LAST_NOTICE) -> None:
        """Lets commands that are under way come to their end, for so long in all, and ends those that have not."""
        until = time.monotonic() + seconds
        try:
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))
        finally:  # also when it is interrupted meanwhile
            with self._guard:
                self._is_over = True
                for process in self._running:
                    _kill_group(process)
            for thread in self._threads:
                thread.join(ENDS_WITHIN)

    def _run(self, event: str, facts: Mapping[str, object]) -> None:
        environment = {f"KINETICS_{name.upper()}": visible(str(value)) for name, value in facts.items()}
        process = self._started(environment)
        if process is None:
            return
        began, is_late = time.monotonic(), False
        try:
            process.communicate(json.dumps(facts).encode() + b"\n", timeout=self._time_limit)
        except subprocess.TimeoutExpired:
            is_late = True
            _kill_group(process)
            process.wait()
        except OSError:
            process.wait()
        with self._guard:
            self._running.discard(process)
            is_late = is_late or (self._is_over and process.returncode == -signal.SIGKILL)
        if is_late:
            took = time.monotonic() - began
            self._say(f"--notify: {self._words[0]} was ended after {precise_duration(took)} ({event})")
        elif process.returncode:
            self._say(f"--notify: {self._words[0]} ended with {process.returncode} ({event})")

    def _started(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """The command in a process group of its own; None where it cannot be started, or all is over."""
        with self._guard:
            if self._is_over:
                return None
            try:
                process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **environment},
                    start_new_session=True,
                )
            except OSError as error:
                self._say(f"--notify: {self._words[0]} could not be started: {error.strerror}")
                return None
            self._running.add(process)
            return process


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
