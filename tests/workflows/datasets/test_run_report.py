"""`report RUN`: the curves and confusions of a training run, as text, page, picture and document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.clips import built
from tests.builders.runs import written_run

HOSTILE = "<img src=x onerror='window.hurt=1'> $\\frac{$"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(tmp_path_factory.mktemp("run-report") / "set", 6)


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Path:
    """A run whose three classes are called otherwise."""
    folder = written_run(tmp_path / "my run", dataset)
    file = folder / "evaluation-val.json"
    results = json.loads(file.read_text()) | {"classes": ["juggling", HOSTILE, "surfing"]}
    file.write_text(json.dumps(results))
    (folder / "results.json").write_text(json.dumps({"seconds": 7384.0}))
    return folder


def rows_of(text: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def test_it_says_how_the_training_went_and_which_classes_are_known_least(
    run: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli(["report", str(run)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"{run}: i3d, rgb, 3 steps in 2 h 03 min of work"
    rows = rows_of(said)
    assert ["3", "2.500", "60.0%", "evaluation"] in rows
    assert ["rgb", "11", "63.6%", "100.0%", "68.0%"] in rows
    # Of the first class one of four is right; the confusion is the builder's.
    assert rows[-4:-1] == [
        ["juggling", "4", "1", "25.0%", "surfing 3"],
        [HOSTILE, "5", "4", "80.0%", "juggling 1"],
        ["surfing", "2", "2", "100.0%"],
    ]
    assert rows[-1] == [
        f"score it, and see its mistakes then: kinetics-pipeline evaluate {dataset.store.uri} --rgb '{run}'"
    ]
    (run / "evaluation-val-predictions.parquet").touch()
    assert cli(["report", str(run)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"see its mistakes: kinetics-pipeline report {dataset.store.uri} --serve --run '{run}'"


def test_by_class_and_json_give_the_confusion_alone_and_everything(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["report", str(run), "--by", "class"]) == 0
    assert rows_of(capsys.readouterr().out)[1][0] == "juggling"
    assert cli(["report", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seconds"], told["validation"]) == (7384.0, [[3, 2.5, 0.6]])
    assert told["results"][0]["scores"][0]["asked"] == [4, 5, 2]


def test_the_picture_shows_curves_and_a_matrix(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.png"
    assert cli(["report", str(run), "--picture", str(file)]) == 0
    picture = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    assert capsys.readouterr().out.endswith(f"the picture is {file}\n")
    middle = picture.shape[0] * 4 // 10
    colours = {
        name: np.all(picture == ink, axis=2)
        for name, ink in {"training": (31, 111, 178), "evaluation": (179, 64, 42)}.items()
    }
    assert all(found[:middle].sum() > 50 for found in colours.values())  # lines and the points of evaluations
    darkest = np.all(picture[middle:] == (8, 48, 107), axis=2)  # the end of the scale: all of a class, as of surfing
    assert darkest.sum() > 5000
    (run / "evaluation-val.json").unlink()
    assert cli(["report", str(run), "--picture", str(file)]) == 0
    assert cv2.imread(str(file)).shape[0] < picture.shape[0] / 2  # curves alone


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--picture", "run.gif"], "--picture is "),
        (["--picture", "missing/run.png"], "there is no folder"),
        (["--html", "run.txt"], "--html is "),
        (["--serve"], "DATASET is a run"),
        (["--certificate", "c.json"], "DATASET is a run"),
    ],
)
def test_what_a_run_has_not_and_other_suffixes_are_refused(
    flags: list[str], named: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["report", str(run), *flags]) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_the_page_of_a_run_opens_without_a_network_and_names_are_text(browser: Any, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    assert cli(["report", str(run), "--html", str(file)]) == 0
    context = browser.new_context(offline=True)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(file.as_uri())
    assert tab.locator("h1").inner_text() == "my run"
    assert tab.locator(".curve canvas").count() == 2
    tab.get_by_text("Which class is taken for which").click()
    pairs = tab.locator("details tbody tr").all_inner_texts()
    assert pairs == ["juggling\tsurfing\t3\t75.0 %", f"{HOSTILE}\tjuggling\t1\t20.0 %"]
    assert tab.evaluate("window.hurt") is None
    context.close()
    assert complaints == []
