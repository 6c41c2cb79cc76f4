"""What the demo refuses, and how it runs its commands. The demo itself is run by `.ci/run`."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from kinetics_pipeline.errors import JobFailed, UserError
from workflows.configs import DemoConfig
from workflows.demo.commands import Commands
from workflows.demo.job import demo


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
