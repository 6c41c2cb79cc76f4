"""Writers that are killed at each of their writes in turn: files, names, folders, removals, requests to a store.

A program that has everything imported forks a child for each build; the child counts what it is about to write, and
kills itself at a given number.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.object_client import ObjectClient
from kinetics_pipeline.workflows.benchmarks.chaos.forking import Ask, in_a_child, program, serve
from kinetics_pipeline.workflows.benchmarks.chaos.inline import PLANTED, InlineBuild

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"})


@dataclass(frozen=True)
class Ended:
    """How one build ended."""

    killed: bool
    writes: int
    """Counted so far; of one that was killed, the one at which it was."""
    problem: str
    """Empty where it came to its end."""


class Writers:
    """Builds in children of one program."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def build(self, build: InlineBuild, *, die_at: int = 0, planted: str = "") -> Ended:
        """`die_at`: the write at which it is killed; 0 for never."""
        return Ended(*self._ask([asdict(build), die_at, planted]))


@contextmanager
def writers(variables: Mapping[str, str]) -> Iterator[Writers]:
    """`variables`: the environment of the builds."""
    with program(__name__, variables) as ask:
        yield Writers(ask)


# In the program


class WriteCount:
    """Counts writes, and kills this process at one of them."""

    def __init__(self, die_at: int) -> None:
        self.writes, self._die_at = 0, die_at

    def begin(self) -> None:
        """From now on; there is no way back."""
        sys.addaudithook(self._hear)
        ObjectClient.call = self._of_requests(ObjectClient.call)  # type: ignore[method-assign]

    def _one_more(self) -> None:
        self.writes += 1
        if self.writes == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Counts the changes of files that `sys.addaudithook` tells of, before each is made."""
        if event in _CHANGES or (event == "open" and arguments[2] & _WRITING and arguments[0] != os.devnull):
            self._one_more()

    def _of_requests(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A request that writes may be the last thing before it is sent, and the last that was done."""

        def counted(client: ObjectClient, function: str, *arguments: Any, **options: Any) -> Any:
            if function not in ("put", "delete"):
                return call(client, function, *arguments, **options)
            self._one_more()
            answer = call(client, function, *arguments, **options)
            self._one_more()
            return answer

        return counted


def _build(build: InlineBuild, die_at: int, planted: str, tell: int) -> None:
    """Builds in the child process, and tells how many writes there were and what went wrong."""
    count = WriteCount(die_at)
    if planted:
        PLANTED[planted]()
    count.begin()
    problem = ""
    try:
        build.run()
    except UserError as error:
        problem = str(error)
    except BaseException as error:  # noqa: BLE001 (any is a finding)
        problem = f"{type(error).__name__}: {error}"
    os.write(tell, json.dumps([count.writes, problem]).encode())


def _answer(request: Any) -> Any:
    document, die_at, planted = request
    said, status = in_a_child(partial(_build, InlineBuild(**document), die_at, planted))
    killed = os.WIFSIGNALED(status)
    return [killed, *(said or (die_at, "" if killed else f"it ended with {status}"))]


if __name__ == "__main__":
    serve(_answer)
