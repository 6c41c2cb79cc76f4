"""Tables of the paper: which experiments they need, in which order, and what they print of finished ones."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import cv2
import pytest

from kinetics_pipeline.workflows.cli.app import app, run
from kinetics_pipeline.workflows.flags.training_flags import PaperConfig
from kinetics_pipeline.workflows.paper.experiments import Experiment, Resources, in_training_order
from kinetics_pipeline.workflows.paper.job import resources_of, shown
from kinetics_pipeline.workflows.paper.motion import _commands
from kinetics_pipeline.workflows.paper.tables import TABLES, Cell, score_of
from tests.builders.motion import build_motion


@pytest.fixture
def resources(tmp_path):
    places = {place: f"/data/{place}" for place in ("kinetics", "mini", "ucf", "hmdb")}
    return Resources(tmp_path / "runs", places, imagenet=tmp_path / "googlenet.pth", mini_classes=tmp_path / "mini.txt")


def scored(score, resources, value):
    """A finished evaluation, as `evaluate --output` leaves it."""
    key = "fused" if len(score.experiments) == 2 else score.experiments[0].stream
    file = score.file(resources)
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "scores": {key: {"top1": value / 100, "top5": 1.0}},
        "coverage": {"asked": 10, "ok": 9},
        "dataset": {"uri": "/data/x", "fingerprint": {"content": "abcdef0123456789"}},
        "checkpoints": {"rgb": {"step": 5000, "path": "run/checkpoints/last.pt"}},
        "config": {"split": score.experiments[0].scored_on(resources)},
        "classes": ["a", "b"],
    }
    file.write_text(json.dumps(document))


def test_every_cell_of_table_4_with_a_figure_has_an_experiment_and_no_other_has():
    table = TABLES["4"]()
    cells = [cell for _, row in table.rows for cell in row]
    assert len(cells) == 10 * 6
    assert all((cell.paper is None) == (not cell.scores) for cell in cells)


def test_weights_are_trained_before_what_starts_from_them_and_nothing_twice():
    experiments = list(in_training_order([score for name in ("4", "5") for score in TABLES[name]().scores()]))
    assert len(experiments) == len(set(experiments))
    for number, one in enumerate(experiments):
        if (needed := one.needs()) is not None:
            assert experiments.index(needed) < number


def test_the_three_protocols_differ_in_their_start_and_in_what_they_freeze(resources):
    words = {
        p: Experiment("hmdb", "i3d", "flow", p, True, split=2).training(resources)
        for p in ("original", "fixed", "full")
    }
    start = {p: w[w.index("--init") + 1] for p, w in words.items()}
    kinetics = str(resources.runs / "kinetics/i3d-flow-original-imagenet/checkpoints/last.pt")
    assert start == {"original": str(resources.imagenet), "fixed": kinetics, "full": kinetics}
    assert [p for p, w in words.items() if "--freeze-features" in w] == ["fixed"]
    for w in words.values():
        assert w[w.index("--train-split") + 1] == "train2"
        assert "test2" not in w
        assert float(w[w.index("--hold-out") + 1]) > 0
        assert w[w.index("--steps") + 1] == "5000"
    scratch = Experiment("hmdb", "i3d", "flow", "original").training(resources)
    assert "--init" not in scratch


@pytest.mark.parametrize("name", TABLES)
def test_the_commands_of_every_table_are_ones_that_the_command_line_takes(resources, name, capsys):
    """Parsed to the last flag: what is refused is the dataset, which is not there."""
    score = TABLES[name]().scores()[-1]
    for experiment in in_training_order([score]):
        assert run(experiment.training(resources)) == 2
        assert "/data/" in capsys.readouterr().err
    assert run(score.evaluation(resources)) == 2
    assert "is not a dataset" in capsys.readouterr().err


def test_a_mean_is_shown_once_all_of_its_scores_are_there(resources):
    scores = tuple(score_of("i3d", "rgb+flow", "ucf", "full", True, split) for split in (1, 2, 3))
    cell = Cell(98.0, scores)
    scored(scores[0], resources, 90.0)
    scored(scores[1], resources, 96.0)
    assert shown(cell, resources) == "98.0 / ?"
    scored(scores[2], resources, 99.0)
    assert shown(cell, resources) == "98.0 / 95.0"
    assert shown(Cell(43.2), resources) == "43.2 / –"


def test_top_5_is_in_brackets_where_the_paper_has_it_and_a_star_says_that_validation_was_scored(resources):
    cell = next(cells[0] for label, cells in TABLES["3"]().rows if label.startswith("(e)"))
    assert shown(cell, resources) == "68.4 (88.0) / ?"
    scored(cell.scores[0], resources, 61.0)
    assert shown(cell, resources) == "68.4 (88.0) / 61.0 (100.0)*"
    tested = replace(resources, tested=frozenset({"kinetics"}))
    assert shown(cell, tested) == "68.4 (88.0) / ?"  # what was scored is another split
    scored(cell.scores[0], tested, 62.0)
    assert shown(cell, tested) == "68.4 (88.0) / 62.0 (100.0)"


def test_the_two_heads_of_two_stream_come_from_one_evaluation_and_3d_fused_has_none(resources):
    rows = dict(TABLES["2"]().rows)
    rgb, flow, both = (cell.scores for cell in rows["(c) Two-Stream"][:3])
    assert [score.head for (score,) in (rgb, flow, both)] == ["rgb", "flow", None]
    assert rgb[0].evaluation(resources) == flow[0].evaluation(resources) == both[0].evaluation(resources)
    assert [shown(cell, resources) for cell in rows["(d) 3D-Fused"][:3]] == ["83.2 / –", "85.8 / –", "89.3 / ?"]


@pytest.mark.parametrize("name", TABLES)
def test_no_command_of_a_table_takes_weights_that_were_chosen_by_their_score(resources, name):
    scores = TABLES[name]().scores()
    commands = [one.training(resources) for one in in_training_order(scores)]
    commands += [score.evaluation(resources) for score in scores]
    runs = str(resources.runs)
    for words in commands:
        taken = [b for a, b in pairwise(words) if a in ("--init", "--rgb", "--flow", "--both") and b.startswith(runs)]
        assert all(word.endswith("checkpoints/last.pt") for word in taken), words


def test_results_of_the_weights_that_were_best_are_measured_again(resources):
    score = score_of("i3d", "rgb", "kinetics")
    scored(score, resources, 61.0)
    assert score.measured(resources) is not None
    file = score.file(resources)
    file.write_text(file.read_text().replace("last.pt", "best.pt"))
    assert score.measured(resources) is None


@pytest.mark.parametrize(
    ("flags", "batch", "accumulate", "steps", "rate"),
    [
        ((), 6, 64, 110_000, 0.1),
        (("--workers", "8"), 6, 8, 110_000, 0.1),
        (("--workers=8", "--batch-size", "12"), 12, 4, 110_000, 0.1),
        (("--workers", "8", "--accumulate", "1"), 6, 1, 880_000, 0.0125),
        (("--batch-size", "100"), 100, 4, 105_600, 0.1 * 400 / 384),
    ],
)
def test_a_step_has_the_clips_of_the_schedule_or_there_are_in_proportion_more_steps(
    resources, flags, batch, accumulate, steps, rate
):
    plan = Experiment("kinetics", "i3d", "rgb").plan(replace(resources, flags=flags))
    assert (plan.batch, plan.accumulate, plan.steps) == (batch, accumulate, steps)
    assert plan.rate == pytest.approx(rate)
    assert plan.steps * plan.clips_a_step == 110_000 * 384


def test_the_schedules_of_all_experiments_are_printed_with_their_sources_and_drawn(tmp_path, capsys):
    assert run(["paper", "schedules", "--picture", str(tmp_path / "schedules.png")]) == 0
    said = capsys.readouterr().out
    cells = [re.split(r"  +", line.strip()) for line in said.splitlines() if ": (" in line]
    rows = {name: (int(count), figures) for name, count, *figures in cells}
    assert rows["Kinetics: (b) 3D-ConvNet"][1][:4] == ["64 (paper)", "15 (paper)", "960", "110000 (paper)"]
    assert rows["Kinetics: (c) Two-Stream"][1][:2] == ["32 (paper)", "12 (ours)"]
    transfer = rows["UCF-101, HMDB-51: (e) Two-Stream I3D flow"][1]
    assert transfer[:5] == ["16 (paper)", "6 (code)", "96", "5000 (paper)", "0.025 (ours)"]
    counted = sum(count for count, _ in rows.values())
    every = [score for name in ("2", "3", "4", "5") for score in TABLES[name]().scores()]
    assert counted == len(list(in_training_order(every)))
    height, width, _ = cv2.imread(str(tmp_path / "schedules.png")).shape
    assert height > 500
    assert width > 1500


def test_the_released_schedule_of_kinetics_is_that_of_the_code(resources):
    released = replace(resources, schedules="released")
    words = Experiment("kinetics", "i3d", "flow").training(released)
    assert words[words.index("--recipe") + 1] == "released"
    assert words[words.index("--steps") + 1] == "155000"
    transfer = Experiment("ucf", "i3d", "flow").training(released)
    assert transfer[transfer.index("--recipe") + 1] == "paper"  # the code has no transfer


def test_a_table_says_on_what_its_figures_were_measured_and_what_it_lacks(tmp_path, capsys):
    config = PaperConfig(runs=tmp_path, kinetics="/data/k", ucf="/data/u", imagenet=tmp_path / "g.pth")
    score = score_of("i3d", "rgb", "ucf", imagenet=True)
    scored(score, resources_of(config), 61.8)
    words = [
        "paper",
        "reproduce",
        "2",
        "--no-run",
        "--runs",
        str(tmp_path),
        "--kinetics",
        "/data/k",
        "--ucf",
        "/data/u",
    ]
    assert run([*words, "--imagenet", str(tmp_path / "g.pth")]) == 0
    said = capsys.readouterr().out
    assert "84.5 / 61.8" in said
    assert "9 of 10 clips of test1 in /data/x (content abcdef012345), 2 classes, 5000 steps" in said
    assert "without --hmdb" in said


def test_table_1_prints_at_once_and_every_count_is_within_a_million(capsys):
    assert run(["paper", "reproduce", "1"]) == 0
    said = capsys.readouterr().out
    assert "25 rgb, 250 flow, 10 s / 25 rgb, 250 flow, 10 s" in said  # both footprints, the paper's and ours
    rows = [line.split("/") for line in said.splitlines() if line.startswith("(")]
    assert len(rows) == 5
    for paper, here in ((float(a.split()[-1]), float(b.split()[0])) for a, b, *_ in rows):
        assert abs(paper - here) < 1


@pytest.mark.parametrize(("table", "named"), [("6", "'6'; allowed: 1, 2, 3"), ("figure4", "--kinetics is missing")])
def test_a_table_that_cannot_be_is_refused_in_a_line(tmp_path, table, named, capsys):
    assert run(["paper", "reproduce", table, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_a_missing_row_is_trained_scored_and_printed_and_not_run_again(tmp_path, capfd, monkeypatch):
    dataset = build_motion(tmp_path, splits={"train": 4, "val": 4}, count=16, size=(32, 32))
    table = TABLES["3"]()
    only = next((label, cells[:1]) for label, cells in table.rows if label.startswith("(e)"))
    small = type(table)(table.title, table.columns[:1], (only,))
    monkeypatch.setitem(TABLES, "3", lambda: small)
    flags = "--frames 9 --crop 32 --batch-size 2 --accumulate 1 --steps 2 --loaders 0 --precision fp32"
    words = ["paper", "reproduce", "3", "--kinetics", dataset.store.uri, "--runs", str(tmp_path / "runs")]
    words += ["--train-flags", flags]
    assert run(words) == 0
    said = capfd.readouterr().out
    assert "[2/2] kinetics-pipeline evaluate" in said
    assert "68.4 (88.0) / " in said
    assert "68.4 (88.0) / ?" not in said
    assert "* the last checkpoint on val" in said
    assert "4 of 4 clips of val" in said
    assert run(words) == 0
    assert "kinetics-pipeline train" not in capfd.readouterr().out


def test_the_commands_of_motion_are_ones_that_the_command_line_takes(tmp_path):
    commands = _commands(tmp_path, PaperConfig(runs=tmp_path))
    assert [words[0] for words in commands] == ["build", *["train", "evaluate"] * 3]
    for words in commands:
        app.parse_args(words, exit_on_error=False, print_error=False)
