"""Runs commands in children that tell of everything which a stranger's dataset must not bring about.

Python's audit events say what is opened, started and connected to (`sys.addaudithook`); they cannot be dodged by code
of this program. Libraries in C are not heard, but for what Python opens for them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.chaos.forking import Ask, in_a_child, program, serve
from kinetics_pipeline.workflows.benchmarks.chaos.inline import InlineBuild
from kinetics_pipeline.workflows.cli.app import run

LONGEST = 120
"""Seconds that a command may take."""
MOST_MEMORY = 4 << 30
"""Bytes that a command may have more than it began with."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_STARTS = frozenset({"os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"})
_CHANGES = frozenset(
    {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}
)
_CALLS = frozenset(
    {("os", "system"), ("posix", "system"), ("os", "mkdir"), ("posix", "mkdir"), ("subprocess", "Popen")}
    | {("builtins", name) for name in ("exec", "eval")}
)
"""What no pickle of ours names."""
_COMMANDS = ("forget", "repair", "export", "verify", "status", "report", "compare", "inspect")
_LOADED = tuple(f"kinetics_pipeline.workflows.datasets.{name}" for name in _COMMANDS)


@dataclass(frozen=True)
class Said:
    """What came of a command."""

    code: int
    text: str
    """What it printed on both outputs."""
    harm: tuple[str, ...]
    """What it did that it must not."""


class Guard:
    """Commands, each in a child of one program."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def run(self, words: Sequence[str], inside: Sequence[Path]) -> Said:
        """A command of the command line (or `build` with InlineBuild's fields). `inside`: where it may write."""
        code, text, harm = self._ask([list(words), list(map(str, inside))])
        return Said(code, text, tuple(harm))


@contextmanager
def guard(variables: Mapping[str, str]) -> Iterator[Guard]:
    with program(__name__, variables) as ask:
        yield Guard(ask)


# In the program


class _Watch:
    """Hears audit events, and notes those that are harm."""

    def __init__(self, inside: Sequence[str]) -> None:
        self.inside = [*(os.path.realpath(place) for place in inside), "/dev", "/proc"]
        self.programs = [os.path.realpath(program) for program in (executable(), sys.executable)]
        self.harm: list[str] = []

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and isinstance(flags, int) and flags & _WRITING:
                self._place(event, os.fsdecode(path))
        elif event in _CHANGES:
            at_folder = event != "os.chmod" and any(isinstance(one, int) and one >= 0 for one in arguments[1:])
            if not at_folder:  # one that was opened before, as rmtree does
                self._place(event, os.fsdecode(arguments[1 if event in ("os.link", "os.symlink") else 0]))
        elif self._is_harm(event, arguments):
            self.harm.append(f"{event} {str(arguments)[:300]}")

    def _is_harm(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "subprocess.Popen":
            started = arguments[0] if isinstance(arguments[0], str) else str(arguments[1])
            return os.path.realpath(started) not in self.programs
        if event == "socket.connect":
            return not isinstance(arguments[1], str)  # which is a pipe of multiprocessing
        if event == "pickle.find_class":
            return (str(arguments[0]), str(arguments[1])) in _CALLS
        return event in _STARTS or event in ("socket.sendto", "socket.getaddrinfo")

    def _place(self, event: str, path: str) -> None:
        real = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
        if not any(real == place or real.startswith(place + "/") for place in self.inside):
            self.harm.append(f"{event} {real}")


def _run(words: Sequence[str], inside: Sequence[str], tell: int) -> None:
    """Runs the command in the child process, and reports its end."""
    import resource

    signal.alarm(LONGEST)
    with open("/proc/self/statm") as file:
        had = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (had + MOST_MEMORY, had + MOST_MEMORY))
    tempfile.tempdir = os.environ["TMPDIR"] = os.path.join(inside[0], "temporary")
    os.makedirs(tempfile.tempdir, exist_ok=True)
    watch = _Watch(inside)
    sys.addaudithook(watch.hear)
    text, code = io.StringIO(), 0
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            if words[0] == "inline-build":
                InlineBuild(words[1], words[2], words[3], words[4]).run()
            else:
                code = run(list(words)) or 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # noqa: BLE001 (any is told)
            from kinetics_pipeline.errors import UserError

            code = error.exit_code if isinstance(error, UserError) else -1
            text.write(str(error) if isinstance(error, UserError) else traceback.format_exc())
    with os.fdopen(tell, "w") as out:
        json.dump([code, text.getvalue(), watch.harm], out)


def _answer(request: Any) -> Any:
    words, inside = request
    said, status = in_a_child(partial(_run, words, inside))
    return said if said is not None else [-1, f"it ended with status {status}", []]


if __name__ == "__main__":
    for name in _LOADED:
        importlib.import_module(name)
    serve(_answer)
