"""What the demo refuses, and how it runs its commands. The demo itself is run by `.ci/run`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.workflows.demo.commands import Commands
from kinetics_pipeline.workflows.demo.job import Folder, _say_where, demo
from kinetics_pipeline.workflows.demo.videos import CLASSES, SHOTS, Rendered
from kinetics_pipeline.workflows.flags.build_flags import DemoConfig


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds something else than a demo; name another$"):
        demo(DemoConfig(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_command_that_fails_ends_the_demo_with_its_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(JobFailed, match=r"^status ended with 2: kinetics-pipeline: .* is not a dataset: [^\n]*$"):
        Commands(Console(), tmp_path / "logs").run("status", "status", str(tmp_path))
    assert f"$ kinetics-pipeline status {tmp_path}" in capsys.readouterr().out.replace("\n", "")


def test_when_one_of_two_commands_fails_the_other_ends_too(tmp_path: Path):
    os.mkfifo(tmp_path / "asked.csv")  # reading it waits for a writer that never comes
    lasting = ["plan", str(tmp_path / "asked.csv")]
    with pytest.raises(JobFailed, match=r"^status ended with 2"):
        Commands(Console(), tmp_path / "logs").run_together({"status": ["status", str(tmp_path)], "plan": lasting})
    said = (tmp_path / "logs" / "plan.err").read_text()
    assert "interrupted" in said
    assert not [one for one in psutil.process_iter(["cmdline"]) if lasting[1] in (one.info["cmdline"] or ())]


def test_a_command_that_ends_before_the_event_was_not_killed(tmp_path: Path):
    assert not Commands(Console(), tmp_path / "logs").kill_when("help", "--help", event=lambda: False)


def test_the_command_to_try_next_can_be_copied_into_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / "my demo"
    video = Rendered(number=len(CLASSES) * SHOTS)
    _say_where(Console(soft_wrap=True), Folder(root), [video], seconds=1.0)
    words = next(shlex.split(line) for line in capsys.readouterr().out.splitlines() if " predict " in line)
    assert words[words.index("predict") + 1] == str(root / "videos" / f"{video.video_id}.mp4")
    assert words[words.index("--flow") + 1 :] == [str(Folder(root).run("flow"))]
