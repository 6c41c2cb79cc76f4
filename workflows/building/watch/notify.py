"""`--notify`: the user's own command, run when a build ends, fails, or has an address paused.

The command is a list of words and never a text for a shell. What happened stands in its environment, and as JSON on its
standard input. A command that hangs or fails harms nothing: it is ended after a while, and a line tells of it.
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

TIME_LIMIT = 60.0
"""Seconds that a command may take."""
AT_ONCE = 4
"""Commands that may run at a time; what comes while so many hang is left out."""


class Notifier:
    """Runs the command in threads of its own."""

    def __init__(self, words: Sequence[str], say: Callable[[str], None], *, time_limit: float = TIME_LIMIT) -> None:
        """`say`: told in a line of a command that failed."""
        self._words, self._say, self._time_limit = list(words), say, time_limit
        self._threads: list[threading.Thread] = []

    def tell(self, event: str, facts: Mapping[str, object]) -> None:
        """`event`: `ended`, `failed`, `stopped` or `paused`. Returns at once."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= AT_ONCE:
            return
        thread = threading.Thread(target=self._run, args=(event, {"event": event, **facts}), daemon=True)
        thread.start()
        self._threads.append(thread)

    def wait(self, seconds: float) -> None:
        """Lets commands that are under way come to their end, for so long in all."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, event: str, facts: Mapping[str, object]) -> None:
        environment = {f"KINETICS_{name.upper()}": visible(str(value)) for name, value in facts.items()}
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
            return
        try:
            process.communicate(json.dumps(facts).encode() + b"\n", timeout=self._time_limit)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._say(f"--notify: {self._words[0]} took more than {self._time_limit:.0f} s and was ended ({event})")
            return
        except OSError:
            process.wait()
        if process.returncode:
            self._say(f"--notify: {self._words[0]} ended with {process.returncode} ({event})")
