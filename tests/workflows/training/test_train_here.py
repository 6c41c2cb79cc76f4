"""One worker without a cluster trains in this process."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.runtime.signals import stop_requested
from tests.builders.motion import build_motion
from tests.builders.training import numbers, session, settings_of

SMALL = ("--frames", "9", "--crop", "32", "--batch-size", "2", "--precision", "fp32", "--loaders", "0")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 5, "val": 2}, count=12)


def _no_ray(*arguments):
    raise AssertionError("Ray was started")


def test_one_worker_trains_without_ray_to_the_numbers_of_a_session(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("kinetics_pipeline.workflows.training.job.connected", _no_ray)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as a session of the tests has
    flags = ("--stream", "flow", "--steps", "2", "--evaluate-every", "0", "--checkpoint-every", "1000")
    assert cli(["train", dataset.store.uri, "--run", str(tmp_path / "here"), *SMALL, *flags]) == 0
    assert "2 of 2 steps" in capsys.readouterr().err
    settings = settings_of(dataset, tmp_path / "session", steps=2, stream="flow")
    session(settings)
    assert numbers(tmp_path / "here") == numbers(tmp_path / "session")
    assert json.loads((tmp_path / "here" / "results.json").read_text())["steps"] == 2


def test_what_torch_fails_of_is_one_line_that_names_the_checkpoint_to_go_on_from(
    dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    steps = ("--stream", "flow", "--steps", "1", "--evaluate-every", "0")
    assert cli(["train", dataset.store.uri, "--run", str(tmp_path), *SMALL, *steps]) == 0
    capsys.readouterr()

    def killed(*arguments):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.\nmore lines")

    monkeypatch.setattr("kinetics_pipeline.workflows.training.session.run_session", killed)
    assert cli(["train", dataset.store.uri, "--run", str(tmp_path), *SMALL, *steps[:3], "2", *steps[4:]]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"kinetics-pipeline: the training failed; the same command goes on from {tmp_path}/checkpoints/last.pt: "
        "DataLoader worker (pid 7) is killed by signal: Killed."
    )


def test_a_forked_child_of_a_command_that_may_be_stopped_still_ends_by_sigterm():
    fork = multiprocessing.get_context("fork")
    began = fork.Event()

    def work():
        began.set()
        time.sleep(60)

    with stop_requested() as should_stop:
        child = fork.Process(target=work, daemon=True)
        child.start()
        began.wait()  # Python drops a signal that arrives while it forks
        child.terminate()
        child.join(30)
        assert child.exitcode == -15
        assert not should_stop()


def test_its_threads_wait_without_spinning(tmp_path):
    command = [sys.executable, "-m", "workflows", "train", str(tmp_path), *("--model", "i3d", "--stream", "rgb")]
    variables = {**os.environ, "OMP_DISPLAY_ENV": "TRUE", "RAY_ADDRESS": ""}
    variables.pop("OMP_WAIT_POLICY", None)
    ended = subprocess.run(
        [*command, "--run", str(tmp_path / "run")], env=variables, capture_output=True, text=True, check=False
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ended.stderr
    assert ended.returncode == 2
