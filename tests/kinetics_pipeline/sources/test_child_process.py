"""A download runs in a process that can be killed, and that never outlives whoever asked for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources import child_process
from kinetics_pipeline.sources.base import Download, Failure
from kinetics_pipeline.sources.child_process import KillableChild


@dataclass(frozen=True)
class Program:
    """A source whose download runs a piece of Python, in the child."""

    code: str
    name: str = "program"

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        exec(textwrap.dedent(self.code), {"folder": folder})
        return Download(bytes_fetched=os.getpid())


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[KillableChild]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # so that the child can read `Program`
    with KillableChild() as one:
        yield one


def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


GRANDCHILD = """
    import subprocess, sys, time
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (folder / "pid").write_text(str(started.pid))
    time.sleep(60)
"""


def test_one_process_serves_many_calls(child: KillableChild, tmp_path: Path) -> None:
    pids = {child.download(Program("pass"), "v", [], tmp_path, 30).bytes_fetched for _ in range(3)}
    assert pids == {child.pid}


def test_an_overrun_ends_the_process_and_what_it_started(child: KillableChild, tmp_path: Path) -> None:
    child.download(Program("pass"), "v", [], tmp_path, 30)
    pid = child.pid
    answer = child.download(Program(GRANDCHILD), "v", [], tmp_path, 1.0)
    assert answer.failure == Failure("network", "took more than 1 s")
    assert pid is not None
    assert gone(pid)
    until(lambda: gone(int((tmp_path / "pid").read_text())))
    assert child.download(Program("pass"), "v", [], tmp_path, 30).failure is None


def test_a_process_that_dies_is_one_failure_and_the_next_call_works(child: KillableChild, tmp_path: Path) -> None:
    answer = child.download(Program("import os; os.kill(os.getpid(), 9)"), "v", [], tmp_path, 30)
    assert answer.failure == Failure("internal", "the download's process ended (signal 9)")
    assert child.download(Program("pass"), "v", [], tmp_path, 30).failure is None


def test_a_process_that_died_between_two_calls_is_replaced(child: KillableChild, tmp_path: Path) -> None:
    child.download(Program("pass"), "v", [], tmp_path, 30)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert child.download(Program("pass"), "v", [], tmp_path, 30).failure is None


def test_an_exception_over_there_is_a_failure_that_names_its_place(child: KillableChild, tmp_path: Path) -> None:
    answer = child.download(Program("raise KeyError('https://secret.example/?sig=1')"), "v", [], tmp_path, 30)
    assert answer.failure is not None
    assert answer.failure.outcome == "internal"
    assert "KeyError" in answer.failure.detail
    assert "secret" not in answer.failure.detail


def test_what_is_printed_over_there_does_not_reach_the_answers(child: KillableChild, tmp_path: Path) -> None:
    answer = child.download(Program("import os; print('x' * 9999); os.write(1, b'y' * 9999)"), "v", [], tmp_path, 30)
    assert answer.failure is None


def test_a_process_that_takes_too_much_memory_is_ended(
    child: KillableChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "WATCH_EVERY", 0.1)
    monkeypatch.setattr(child_process, "MOST_MEMORY", 256 << 20)
    hungry = "import time; held = bytearray(b'x') * (300 << 20); time.sleep(60)"
    answer = child.download(Program(hungry), "v", [], tmp_path, 50)
    assert answer.failure is not None
    assert answer.failure.outcome == "internal"
    assert "memory" in answer.failure.detail
    assert child.download(Program("pass"), "v", [], tmp_path, 30).failure is None


def test_a_process_that_writes_more_than_it_may_is_ended(
    child: KillableChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "WATCH_EVERY", 0.1)
    monkeypatch.setattr(child_process, "MOST_ASIDE", 1000)
    (tmp_path / "before").write_bytes(bytes(50_000))  # what an earlier call left is not held against this one
    writes = "import time; (folder / 'more').write_bytes(bytes({})); time.sleep({})"
    assert child.download(Program(writes.format(9_000, 0.5)), "v", [], tmp_path, 50, 9_000).failure is None
    answer = child.download(Program(writes.format(60_000, 60)), "v", [], tmp_path, 50, 9_000)
    assert answer.failure == Failure("internal", "the download wrote more than it may")


def test_the_process_gets_no_key_and_no_token(
    child: KillableChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    child.download(
        Program("import json, os; (folder / 'seen').write_text(json.dumps(dict(os.environ)))"), "v", [], tmp_path, 30
    )
    seen = json.loads((tmp_path / "seen").read_text())
    assert "secret" not in seen.values()
    assert {"PATH", "HTTPS_PROXY", "PYTHONPATH"} <= seen.keys() <= {*child_process.KEPT_VARIABLES, "PYTHONPATH"}


def test_the_process_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """The parent is a plain script without a `__main__` guard: the child must not run it again."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import pathlib, threading
            from tests.kinetics_pipeline.sources.test_child_process import GRANDCHILD, Program
            from kinetics_pipeline.sources.child_process import KillableChild
            with open({str(tmp_path / "runs")!r}, "a") as file:
                file.write("run ")
            child = KillableChild()
            child.download(Program("pass"), "v", [], pathlib.Path({str(tmp_path)!r}), 30)
            pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child.pid))
            child.download(Program(GRANDCHILD), "v", [], pathlib.Path({str(tmp_path)!r}), 60)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, script], env=environment)
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "", 30)
    finally:
        parent.kill()
        parent.wait()
    for name in ("child", "pid"):
        until(lambda name=name: gone(int((tmp_path / name).read_text())))  # type: ignore[misc]
    assert (tmp_path / "runs").read_text() == "run "
