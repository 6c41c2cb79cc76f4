"""README's commands do what it says: ours are all parsed and, at tiny scale, run; what others run is looked at."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.cli.app import app, run
from tests.builders.building import Pile
from tests.builders.clusters import Cluster
from tests.builders.readme import ROOT, blocks, commands, ours
from tests.builders.staying_driver import StayingDriver
from tests.fake_youtube import FileServer

README = (ROOT / "README.md").read_text()
TINY = {
    "plan": "--short-side 32",
    "build": "--short-side 32 --clips-per-shard 4 --cache cache",
    "train": "--steps 2 --batch-size 2 --frames 16 --crop 32 --evaluate-every 0 --loaders 0 --precision fp32",
    "evaluate": "--crop 32 --loaders 0",
    "features": "--precision fp32",
}
"""What makes each command small; nothing else is changed but where videos come from."""
IN_A_PROCESS = ("train", "features")
"""These connect to Ray. Builds run in the driver that stays, and what others need is imported once, by the test."""
ON_A_CLUSTER = re.compile(r"s3://|RAY_ADDRESS=|ray job submit")
"""Run by the tests of clusters, in the same words but for the addresses."""


@pytest.mark.parametrize("command", [c for c in commands() if ours(c)])
def test_the_command_line_accepts_the_command(command: str):
    app.parse_args(shlex.split(ours(command) or ""), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", [c for c in commands() if not ours(c)])
def test_what_another_programs_command_names_is_there(command: str):
    program, *words = shlex.split(command)
    if program == "make":
        done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        assert program in {"pip", "docker", "kubectl", "ray", "sbatch"}
        files = [word for word in words if re.search(r"\w\.(txt|yaml|sh)$|Dockerfile$", word)]
        assert files
        assert all((ROOT / file).is_file() for file in files)


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
@pytest.mark.parametrize("module", sorted(set(re.findall(r"`python -m (workflows\.benchmarks\.\w+)`", README))))
def test_what_measures_a_figure_is_there(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with suppress(SystemExit):
        runpy.run_module(module, run_name="__main__")
    assert module in " ".join(capsys.readouterr().out.split())


def test_its_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) >= 7
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert (ROOT / ".github/demo.png").stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_story_runs_from_the_plan_to_the_python_example(
    pile: Pile,
    server: FileServer,
    node: Cluster,
    driver: StayingDriver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    rows = pile.annotations.read_text().splitlines()
    validation = [row.replace(",train", ",val") for row in rows[-6:]]
    (tmp_path / "annotations.csv").write_text("\n".join([*rows[:-6], *validation]) + "\n")
    (tmp_path / "videos").mkdir()
    for video in sorted(pile.folder.glob("*.mp4"))[:4]:
        shutil.copy(video, tmp_path / "videos")
    shutil.copy(sorted(pile.folder.glob("*.mp4"))[0], tmp_path / "video.mp4")
    (tmp_path / "withdrawn.txt").write_text(pile.clip_ids[2] + "\n")
    story = [words for c in commands() if (words := ours(c)) and not ON_A_CLUSTER.search(c)]
    for words in dict.fromkeys(story):
        _run(words, server.template, node, driver)
    assert (tmp_path / "prediction.png").is_file()
    example, calls, *_ = blocks("python")
    checks = """
assert frames.shape[:2] == (25, 256)
assert flow.shape[:3] == (2, 2, 256)
assert len(table) == 18
assert sample["video"].shape == (2, 16, 32, 32)
assert logits.shape == (1, len(clips.classes))
"""
    calls = calls.replace("limit=10)", f"short_side=32, source={server.template!r}, cache='cache')")
    calls += f"assert result.ok == {len(pile.clip_ids) - 3}"  # two that fail, and one that is withdrawn
    _run_python(example + checks + calls, node)
    assert (tmp_path / "clip.png").is_file()


def _run_python(code: str, node: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=800, check=False, env=_environment(node)
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _environment(node: Cluster) -> dict[str, str]:
    return os.environ | node.environment | {"PYTHONPATH": str(ROOT)}


def _run(words: str, mirror: str, node: Cluster, driver: StayingDriver) -> None:
    """A command of README, with a server on loopback for YouTube and for the mirror it names. Builds and trainings take
    one cluster, where each would embed its own."""
    name = words.split()[0]
    words = words.replace("'https://mirror.example/{video_id}.mp4'", shlex.quote(mirror))
    words = words.replace("--source youtube", "")
    if name in ("plan", "build") and "--source" not in words:
        words += f" --source {shlex.quote(mirror)}"
    line = [*shlex.split(words), *shlex.split(TINY.get(name, ""))]
    if name == "build":
        code, said = driver.run(line)
        assert code == 0, said
        return
    if name not in IN_A_PROCESS:
        allowed = {0, 1} if name == "doctor" else {0}  # this machine may lack something, which doctor then says
        assert run(line) in allowed
        return
    done = subprocess.run(
        [sys.executable, "-m", "workflows", *line],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
        env=_environment(node),
    )
    assert done.returncode == 0, done.stdout + done.stderr
