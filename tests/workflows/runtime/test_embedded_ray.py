"""An embedded Ray whose processes are late, as on a busy machine."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.workflows.runtime import cluster

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


class LateRay:
    """Starts a process each time; that of the first `late` times is late."""

    def __init__(self, late: int) -> None:
        self.late = late
        self.started: list[subprocess.Popen[bytes]] = []

    def init(self, **options: object) -> None:
        self.started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        if len(self.started) <= self.late:
            raise Exception(LATE)

    def shutdown(self) -> None:
        pass


@pytest.fixture
def ray_that_is(monkeypatch: pytest.MonkeyPatch):
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    made: list[LateRay] = []

    def make(late: int) -> LateRay:
        made.append(late_ray := LateRay(late))
        monkeypatch.setattr(ray, "init", late_ray.init)
        monkeypatch.setattr(ray, "shutdown", late_ray.shutdown)
        return late_ray

    yield make
    for process in [process for late_ray in made for process in late_ray.started]:
        process.kill()
        process.wait()


def test_processes_that_are_late_are_ended_and_started_again(ray_that_is) -> None:
    late_ray = ray_that_is(late=1)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with cluster.connected():
            running = [psutil.pid_exists(process.pid) and process.poll() is None for process in late_ray.started]
            assert running == [False, True]
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_after_three_late_starts_one_line_says_so(ray_that_is) -> None:
    late_ray = ray_that_is(late=9)
    with (
        pytest.raises(JobFailed, match=r"^an embedded Ray did not answer: The current"),
        cluster.connected(),
    ):
        pass
    assert len(late_ray.started) == cluster.STARTS


def test_a_command_says_what_it_waits_for_and_that_ray_is_started_again(
    ray_that_is, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray_that_is(late=1)
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    with cluster.connected(cpus=1):
        pass
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "waiting for Ray to start on 1 core"
    assert said[1] == "Ray's processes were not ready within 30 s; starting them again"
