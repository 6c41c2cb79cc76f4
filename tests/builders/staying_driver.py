"""A process that runs one command after another on a cluster, each as the command line does: nothing is imported and no
worker of Ray is started again for the next one. Its cluster is connected once, for all of them.

As a program it reads {"words", "folder"} from each line of stdin, and answers each with {"code", "said"}."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]


class StayingDriver:
    """The process, seen from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """The exit code of a command in the folder of this process, and what it said on stdout and stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"words": list(words), "folder": os.getcwd()}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process that runs commands ended while it ran {words}"
        done = json.loads(answer)
        return done["code"], done["said"]


@contextmanager
def staying_driver(environment: Mapping[str, str]) -> Iterator[StayingDriver]:
    """`environment`: what a command needs to reach the cluster."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    try:
        yield StayingDriver(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=60)
        finally:
            process.kill()


# As a program


@contextmanager
def _connected(cpus: int | None = None) -> Iterator[None]:
    """In place of a command's own connection."""
    assert cpus is None
    yield


def _ran(words: list[str], folder: str, said: IO[bytes]) -> int:
    from kinetics_pipeline.workflows.__main__ import main

    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    try:
        return main(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()  # an actor ends with the last that knows it


def _serve() -> None:
    from kinetics_pipeline.workflows.building import job
    from kinetics_pipeline.workflows.doctor import nodes
    from kinetics_pipeline.workflows.runtime.cluster import connected

    answers = os.fdopen(os.dup(1), "w")
    with connected():
        job.connected = nodes.connected = _connected
        for line in sys.stdin:
            with tempfile.TemporaryFile(buffering=0) as said:
                code = _ran(**json.loads(line), said=said)
                said.seek(0)
                print(json.dumps({"code": code, "said": said.read().decode()}), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
