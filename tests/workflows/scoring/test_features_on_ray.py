"""`features` on a Ray cluster whose actor and driver are killed: one outcome a video, and each video done once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from kinetics_pipeline.models import Checkpoint, build_model, save_checkpoint
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.building import wait_for
from tests.builders.clusters import Cluster
from tests.builders.staying_driver import StayingDriver
from tests.builders.videos import render

pytestmark = pytest.mark.slow

NAMES = {f"{video}_{what}.npy" for video in ("first", "long") for what in ("rgb", "times")}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command whose first video is soon done, and whose second one takes a while; the third is no video."""
    torch.manual_seed(0)
    metadata = {"stream": "rgb", "crop": 32, "recipe": Recipe(short_side=48).to_json()}
    config = {"num_classes": 3, "in_channels": 3}
    state = build_model("i3d", **config).state_dict()
    save_checkpoint(Checkpoint("i3d", config, state, None, metadata), tmp_path / "rgb.pt")
    (tmp_path / "videos").mkdir()
    first = render(tmp_path / "videos" / "first.mp4", width=640, height=480, fps=25, seconds=1.5)
    long = render(tmp_path / "videos" / "long.mp4", width=64, height=48, fps=25, seconds=20.0)
    assert first.stat().st_size > long.stat().st_size  # the largest is worked on first
    (tmp_path / "videos" / "junk.mp4").write_bytes(b"no video")
    flags = ["--precision", "fp32", "--crops", "10", "--window", "32", "--step", "32"]
    return ["features", str(tmp_path / "videos"), "--rgb", str(tmp_path / "rgb.pt"), *flags]


def writers(folder: Path) -> set[psutil.Process]:
    """The actors of Ray that have a file open below `folder`."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if " ".join(process.info["cmdline"] or []).startswith("ray::"):
            with suppress(psutil.Error):
                if any(file.path.startswith(f"{folder}/") for file in process.open_files()):
                    found.add(process)
    return found


def writer_of_the_second(to: Path, known: set[psutil.Process], process: subprocess.Popen[str]) -> psutil.Process:
    """The actor that writes features once the first video has its outcome."""
    wait_for(lambda: outcomes(to) == {"first": "ok"} and bool(writers(to) - known), process)
    (found,) = writers(to) - known
    return found


def outcomes(folder: Path) -> dict[str, str]:
    return {file.stem: json.loads(file.read_bytes())["outcome"] for file in folder.glob("outcomes/*.json")}


@pytest.mark.timeout(900)
def test_a_killed_actor_s_video_is_done_again_and_after_a_killed_driver_the_same_command_does_the_rest(
    words: list[str], node: Cluster, driver: StayingDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, killed = tmp_path / "to", set[psutil.Process]()
    line = [sys.executable, "-m", "kinetics_pipeline.workflows", *words, "--to", str(to)]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **node.environment}
    )
    for victim in ("actor", "driver"):  # each of them in the second video
        one = writer_of_the_second(to, killed, process)
        killed.add(one)
        one.send_signal(signal.SIGKILL if victim == "actor" else signal.SIGSTOP)  # Ray is to end the second one
    process.kill()
    process.communicate(timeout=300)
    psutil.wait_procs(killed, timeout=300)
    assert len(killed) == 2
    assert outcomes(to) == {"first": "ok"}
    assert {file.name for file in to.glob("[!.]*.npy")} == {"first_rgb.npy", "first_times.npy"}
    done = (to / "first_rgb.npy").stat().st_mtime_ns

    code, said = driver.run([*words, "--to", str(to)])
    assert code == 0, said
    assert "Traceback" not in said
    assert "1 video has features now, 1 had them before; 1 decode: " in said
    assert "junk.mp4: decode" in said
    assert outcomes(to) == {"first": "ok", "long": "ok", "junk": "decode"}
    assert (to / "first_rgb.npy").stat().st_mtime_ns == done
    assert {file.name for file in to.iterdir()} == {*NAMES, "features.json", "outcomes"}

    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(to / "features.json", alone)  # so that the precision is not chosen anew
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for what `--cpus` sets
    threads = torch.get_num_threads()
    try:
        assert run([*words, "--cpus", "2", "--to", str(alone)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert [name for name in NAMES if (to / name).read_bytes() != (alone / name).read_bytes()] == []
