"""A program that has everything imported and does each job in a child that it forks: requests and answers in JSON, a
line each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Ask = Callable[[Any], Any]
"""Hands a request to the program, and waits for its answer."""


@contextmanager
def program(module: str, variables: Mapping[str, str]) -> Iterator[Ask]:
    """Runs a module that answers requests (`serve`). `variables`: its environment. It keeps no compiled Python (`-B`),
    as a module that is imported for the first time would be one more write of the command under watch."""
    command = [sys.executable, "-B", "-m", module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None

        def ask(request: Any) -> Any:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            return json.loads(answers.readline())

        yield ask
        requests.close()


def serve(answer: Callable[[Any], Any]) -> None:
    """Answers requests, in the program, until there are no more. What else is printed goes to the error output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


def in_a_child(work: Callable[[int], None]) -> tuple[Any, int]:
    """Forks, and lets the child do the work, which writes JSON to the descriptor that it gets. Returns what it wrote
    (None where it ended before that), and its status (`os.waitpid`)."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        work(tell)
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said else None, status
