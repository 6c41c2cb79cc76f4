"""The demo's story, at its smallest, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from rich.console import Console

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.shards.catalogue import Dataset
from workflows.configs import DemoConfig
from workflows.demo.commands import Commands
from workflows.demo.job import demo


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_builds_is_killed_resumes_trains_and_evaluates(tmp_path: Path):
    folder = tmp_path / "demo"
    line = [sys.executable, "-m", "workflows", "demo", "--folder", str(folder), "--steps", "2", "--clips", "16"]
    environment = os.environ | {"RAY_ADDRESS": "nowhere:1"}  # a demo keeps to its own machine
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Killed (SIGKILL)" in done.stdout
    assert "none of the" in done.stdout
    counts = Dataset.open(folder / "dataset").counts()
    assert (counts.ok, counts.pending, counts.failed) == (16, 0, {"not_found": 1, "too_short": 1})
    for stream in ("rgb", "flow", "fused"):
        assert stream in done.stdout
    assert cv2.imread(str(folder / "demo.png")) is not None
    assert [path for path in (folder / "cache").rglob("*") if path.is_file()] == []
    said = done.stdout.split()
    for name in ("demo.png", "dataset", "server.log"):
        assert any(word.startswith(str(folder / name)) for word in said)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds something else than a demo; name another$"):
        demo(DemoConfig(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_command_that_fails_ends_the_demo_with_its_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(JobFailed, match=r"^status ended with 2: kinetics-pipeline: .* is no dataset: [^\n]*$"):
        Commands(Console(), tmp_path / "logs").run("status", "status", str(tmp_path))
    assert f"$ kinetics-pipeline status {tmp_path}" in capsys.readouterr().out.replace("\n", "")


def test_a_command_that_ends_before_the_event_was_not_killed(tmp_path: Path):
    assert not Commands(Console(), tmp_path / "logs").kill_when("help", "--help", event=lambda: False)
