"""`compare` with runs and checkpoints: question 3 of a user, "is my dataset the one this was trained on?"."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.training.job import _record
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from tests.builders.motion import CLASSES, build_motion
from tests.builders.trained_streams import save_network
from tests.builders.training import settings_of


def build(folder: Path, **changes: object) -> Dataset:
    return build_motion(folder, splits={"train": 4}, count=4, **changes)  # type: ignore[arg-type]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return build(tmp_path / "one")


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Path:
    """A run as `train` begins it."""
    RunFolder(tmp_path / "run").path.mkdir()
    RunFolder(tmp_path / "run").begin(_record(settings_of(dataset, tmp_path / "run"), dataset))
    return tmp_path / "run"


def test_a_run_and_its_checkpoint_are_of_the_dataset_they_were_trained_on(
    dataset: Dataset, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_network(dataset, "rgb", run / "checkpoints" / "best.pt")
    for place in (run, checkpoint):
        assert cli(["compare", str(place), dataset.store.uri]) == 0
        names = ["annotations", "recipe", "survivors", "content", "classes"]
        told = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
        assert told == dict.fromkeys(names, "the same")


def test_the_clips_that_differ_are_named_while_the_run_s_dataset_is_there(
    dataset: Dataset, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = "train001_000000_000002"
    other = build(tmp_path / "other", lost=[lost])
    for place in (run, save_network(dataset, "rgb", tmp_path / "best.pt")):
        assert cli(["compare", str(place), other.store.uri]) == 1
        assert f"only in the first: 1 ({lost}); in the other: gone 1" in capsys.readouterr().out
    Path(dataset.store.uri).rename(tmp_path / "elsewhere")
    assert cli(["compare", str(run), other.store.uri]) == 1
    out = capsys.readouterr().out
    assert "survivors: different" in out
    assert "which clips differ is not known" in out


def test_recipe_and_classes_that_differ_are_named(
    dataset: Dataset, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(Recipe(short_side=32), rgb_quality=80)
    other = build(tmp_path / "other", recipe=recipe, classes=[*CLASSES, "still"])
    checkpoint = save_network(other, "rgb", tmp_path / "best.pt")
    assert cli(["compare", str(run), str(checkpoint)]) == 1
    out = capsys.readouterr().out
    assert "  rgb_quality: 90 and 80\n" in out
    assert "classes: different\n  only in the second: 1 (still)\n" in out


@pytest.mark.parametrize("config", ["[" * 100_000, "{}", json.dumps({"dataset": {"fingerprint": 7}, "classes": []})])
def test_a_damaged_run_is_one_line(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text(config)
    assert cli(["compare", str(tmp_path / "bad"), dataset.store.uri]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_common_clips_are_not_asked_of_a_run(
    dataset: Dataset, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["compare", str(run), dataset.store.uri, "--common", str(tmp_path / "ids")]) == 2
    assert "names no clips" in capsys.readouterr().err
