"""Where the metrics of a run are shown: TensorBoard as it was, and the real package of Weights & Biases, offline."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from kinetics_pipeline.workflows.training.trackers import variables_passed_on
from tests.builders.motion import build_motion
from tests.builders.training import session, settings_of


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 5, "val": 2}, count=12)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No account, no key, and no network asked for."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")


def records(file: Path) -> Iterator[bytes]:
    """The records of a file of the package: LevelDB's log format (blocks of 32 KiB; of each piece a checksum, its
    length and whether it is whole, first, in the middle or last) after seven bytes of its own."""
    data, at, pieces = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        pieces += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield pieces
            pieces = b""


def logged(file: Path) -> dict[int, dict[str, Any]]:
    """What a file of the package holds of each step."""
    from wandb.proto import wandb_internal_pb2

    found: dict[int, dict[str, Any]] = {}
    for data in records(file):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.setdefault(record.history.step.num, {}).update(items)
    return found


def test_a_run_and_what_goes_on_of_it_are_one_run_with_the_numbers_of_the_lines(dataset, tmp_path, offline):
    run = tmp_path / "run"
    flags = {"stream": "flow", "logger": "wandb", "evaluate_every": 2}
    session(settings_of(dataset, run, steps=2, **flags), stop=True)
    assert session(settings_of(dataset, run, steps=2, **flags)).reason == "finished"
    identity = json.loads((run / "wandb.json").read_text())["id"]
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [file.name for file in files] == [f"run-{identity}.wandb"] * 2
    first, second = map(logged, files)
    lines = [json.loads(line) for line in RunFolder(run).metrics.read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if line["kind"] == "step"}
    assert {1: first[1]["train/loss"], 2: second[2]["train/loss"]} == losses
    (scored,) = [line for line in lines if line["kind"] == "evaluation"]
    assert second[2]["val/top1"] == scored["top1"]
    assert second[2]["val/confusion/_type"] == "image-file"
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {event.step: event.value for event in events.Scalars("train/loss")} == pytest.approx(losses)


def test_a_package_that_is_missing_is_one_line_that_names_the_extra(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kinetics_pipeline.workflows.training.trackers.installed", lambda name: False)
    run = str(tmp_path / "run")
    assert cli(["train", dataset.store.uri, "--run", run, "--stream", "flow", "--logger", "wandb"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "kinetics-pipeline: --logger is wandb, which is not installed: pip install 'kinetics-pipeline[wandb]'\n"
    )


def test_a_missing_key_is_said_before_anything_is_trained(dataset, tmp_path, offline, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE")
    run = tmp_path / "run"
    assert cli(["train", dataset.store.uri, "--run", str(run), "--stream", "flow", "--logger", "wandb"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "kinetics-pipeline: --logger is wandb, which has no key here; `wandb login` keeps one, and "
        "WANDB_MODE=offline needs none"
    )
    assert not (run / "metrics.jsonl").exists()


def test_workers_elsewhere_get_the_project_and_never_the_key(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "motion")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert variables_passed_on()["WANDB_PROJECT"] == "motion"
    assert "secret" not in variables_passed_on().values()
