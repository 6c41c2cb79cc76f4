"""`train` as a command, in this process and through Ray Train: Ctrl-C, a killed worker, more workers."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from kinetics_pipeline.models import build_model, read_checkpoint
from tests.builders.motion import build_motion

LIMIT = 800
FLAGS = ("--stream", "flow", "--frames", "9", "--crop", "32", "--batch-size", "2", "--precision", "fp32", "--no-flip")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 6, "val": 2}, count=12).store.uri


def command(dataset, run, *flags):
    return [sys.executable, "-m", "kinetics_pipeline.workflows", "train", dataset, "--run", str(run), *FLAGS, *flags]


def begin(dataset, run, *flags, folder=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        command(dataset, run, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )


def steps_of(run):
    file = run / "metrics.jsonl"
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    return [line["step"] for line in lines if line["kind"] == "step"]


def wait_for(condition, process):
    limit = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_survives_ctrl_c_in_one_process_and_killed_workers_of_two_and_does_each_step_once(dataset, tmp_path):
    run = tmp_path / "run"
    flags = ("--steps", "40", "--checkpoint-every", "4", "--evaluate-every", "40")
    first = begin(dataset, run, *flags, "--accumulate", "2")
    wait_for(lambda: len(steps_of(run)) >= 2, first)
    started = [" ".join(p.cmdline()) for p in psutil.Process(first.pid).children(recursive=True)]
    assert not any("ray" in words.split("/")[-1] for words in started)
    os.killpg(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=LIMIT)
    assert first.returncode == 130, said
    assert said.splitlines()[-1] == "kinetics-pipeline: interrupted; the same command goes on"
    assert "Traceback" not in said
    stopped_at = read_checkpoint(run / "checkpoints/last.pt").metadata["step"]
    assert stopped_at == steps_of(run)[-1] < 40

    second = begin(dataset, run, *flags, "--workers", "2")
    wait_for(lambda: len(steps_of(run)) >= stopped_at + 5, second)
    workers = [p for p in psutil.Process(second.pid).children(recursive=True) if "RayTrainWorker" in p.name()]
    workers = workers or [
        p for p in psutil.Process(second.pid).children(recursive=True) if "TrainWorker" in " ".join(p.cmdline())
    ]
    assert workers
    for worker in workers:
        worker.kill()
    out, said = second.communicate(timeout=LIMIT)
    assert second.returncode == 0, said
    assert "Traceback" not in said
    assert f"goes on from step {stopped_at}" in said
    assert steps_of(run) == list(range(1, 41))
    results = json.loads((run / "results.json").read_text())
    assert results["steps"] == 40
    assert results["best"]["step"] == 40
    assert "40 steps" in out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_workers_train_together_from_weights_given_by_a_relative_path_and_a_finished_run_says_so(
    dataset, tmp_path, capsys, monkeypatch
):
    from kinetics_pipeline.workflows.cli.app import run as cli

    run = tmp_path / "run"
    torch.save(build_model("i3d", num_classes=7, in_channels=2).state_dict(), tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)  # where no worker of Ray is
    init = ("--init", "weights.pt")
    flags = ("--steps", "2", "--workers", "2", "--loaders", "0", "--evaluate-every", "2", *init)
    process = begin(dataset, run, *flags, folder=tmp_path)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said
    assert "clips a step: 2 x 1 (accumulated) x 2 (processes) = 4" in said
    assert f"weights from {tmp_path}/weights.pt (port)" in said
    assert steps_of(run) == [1, 2]
    assert cli(command(dataset, run, *flags)[3:]) == 0
    assert "is finished: 2 steps" in capsys.readouterr().out
    assert cli(command(dataset, run, "--steps", "3", *init)[3:]) == 2
    said = capsys.readouterr().err
    assert "--workers x --accumulate is 1" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--crop", "64"), "crop is 64"),
        (("--frames", "8"), "--frames is 8"),
        (("--train-split", "trian"), "split is 'trian'"),
        (("--classes", "left,sideways"), "sideways"),
        (("--init", "absent.pt"), "absent.pt"),
        (("--learning-rate", "0"), "--learning-rate"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line_before_ray_starts(dataset, tmp_path, flags, named, capsys):
    from kinetics_pipeline.workflows.cli.app import run

    folder = str(tmp_path / "run")
    given = dict(zip(("--frames", "--crop", "--steps", *flags[::2]), ("9", "32", "1", *flags[1::2]), strict=True))
    arguments = ["train", dataset, "--run", folder, *(word for pair in given.items() for word in pair)]
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert named in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_ctrl_c_in_any_command_ends_with_130_and_a_line(monkeypatch, capsys):
    from kinetics_pipeline.workflows.cli.app import run

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("kinetics_pipeline.workflows.training.job.train", interrupted)
    assert run(["train", "dataset", "--run", "run"]) == 130
    assert capsys.readouterr().err == "kinetics-pipeline: interrupted; the same command goes on\n"
