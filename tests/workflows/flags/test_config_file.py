"""`--config FILE` with the record that a run or a dataset keeps."""

import json
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.record import as_record
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig

TRAINED = TrainConfig(run=Path("/runs/a"), steps=40, classes=("a, b", "c"), flip=False, learning_rate=0.5, workers=2)
BUILT = BuildConfig(
    output="/data", source=("https://me:secret1@host/{video_id}.mp4", "youtube"), limit=3, short_side=128,
    proxy=("http://me:secret2@host:3128",), cookies=Path("/c.txt"), ytdlp_option=('password="secret3"',),
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """The configs that the jobs were called with."""
    seen = []
    for name in ("training.job.train", "building.job.build"):
        monkeypatch.setattr(f"kinetics_pipeline.workflows.{name}", lambda _, config: seen.append(config))
    return seen


def recorded(tmp_path, command, config):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"command": command, "config": as_record(config), "versions": {}}))
    return file


def test_a_runs_own_record_gives_the_same_config_again(tmp_path, asked, capsys):
    assert run(["--config", str(recorded(tmp_path, "train", TRAINED)), "train", "/data"]) == 0
    assert asked == [TRAINED]
    assert capsys.readouterr().err == ""


def test_a_flag_beside_a_record_wins(tmp_path, asked):
    record = recorded(tmp_path, "train", TRAINED)
    assert run(["train", "/data", "--config", str(record), "--run", "/runs/b", "--flip"]) == 0
    assert (asked[0].run, asked[0].flip, asked[0].steps) == (Path("/runs/b"), True, 40)


def test_what_a_record_does_not_keep_is_named_without_its_secret(tmp_path, asked, capsys):
    record = recorded(tmp_path, "kinetics-pipeline build x.csv", BUILT)
    assert run(["--config", str(record), "build", "x.csv"]) == 0
    said = capsys.readouterr().err
    assert said.splitlines() == [
        f"note: {record} does not keep --cookies, --proxy, --source, --ytdlp-option; give them again"
    ]
    assert (asked[0].limit, asked[0].short_side, asked[0].proxy, asked[0].cookies) == (3, 128, (), None)


@pytest.mark.parametrize(
    "text", ["[1]", '{"command": "train", "config": []}', '{"config": {"steps": 1}}', "[" * 90_000]
)
def test_a_file_that_is_no_list_of_flags_is_one_line(text, tmp_path, asked, capsys):
    file = tmp_path / "config.json"
    file.write_text(text)
    assert run(["--config", str(file), "train", "/data", "--run", "/runs/a"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "config.json" in said or "config" in said
    assert asked == []
