"""A training session as a plain function, without Ray."""

import json
import os
import tempfile
from collections import Counter

import pytest
import torch

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.models import read_checkpoint
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.datasets.page.runs import run_facts
from kinetics_pipeline.workflows.training.data import training_clips
from kinetics_pipeline.workflows.training.group import Group
from kinetics_pipeline.workflows.training.job import _check, _record, _write_results
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from kinetics_pipeline.workflows.training.session import run_session
from kinetics_pipeline.workflows.training.validation import validation_clips
from tests.builders.motion import build_motion
from tests.builders.training import numbers, session, settings_of


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 5, "val": 2}, count=12)


def test_a_run_stopped_at_every_step_gives_the_numbers_and_weights_of_one_that_was_not_to_the_bit(dataset, tmp_path):
    flags = {"steps": 3, "evaluate_every": 2, "accumulate": 1, "stream": "flow"}
    undisturbed = settings_of(dataset, tmp_path / "undisturbed", **flags)
    assert session(undisturbed).reason == "finished"

    stopped = settings_of(dataset, tmp_path / "stopped", **flags)
    assert session(stopped, stop=True).reason == "stopped"
    assert session(stopped, stop=True).reason == "stopped"
    assert session(stopped).reason == "finished"

    # 5 clips in batches of 2: the second step ends in the first epoch, the third goes over into the next.
    assert numbers(stopped.run.path) == numbers(undisturbed.run.path)
    assert [line["step"] for line in numbers(stopped.run.path)] == [1, 2, 2, 3, 3]
    a, b = (read_checkpoint(run.run.last) for run in (undisturbed, stopped))
    assert all(torch.equal(a.state_dict[name], b.state_dict[name]) for name in a.state_dict)
    assert a.training["position"] == b.training["position"] == {"epoch": 1, "consumed": 1}


def test_clips_held_out_are_evaluated_and_not_trained_on(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "run", steps=2, hold_out=0.3, evaluate_every=None, recipe="paper")
    train, val = training_clips(settings), validation_clips(settings)
    ids = [set(clips.index["clip_id"].to_pylist()) for clips in (train, val)]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(ClipDataset(dataset.store.uri, "train", crop=None).index["clip_id"].to_pylist())
    settings.run.begin(_record(settings, dataset))
    session(settings)
    lines = [json.loads(line) for line in settings.run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [1, 2]  # the plateau's own spacing
    notes = [line["text"] for line in lines if line["kind"] == "note"]
    (cost,) = [text for text in notes if text.startswith("each evaluation looks at ")]
    frames = len(val) * 16  # of twelve, looped to what a network needs
    assert cost.startswith(f"each evaluation looks at {counted(len(val), 'clip')} held out of train, {frames} frames")
    # a step shows two clips of nine frames, forward and backward
    assert cost.endswith(
        f"{frames / (2 * 9 * 3):.2g} times the computation of the 1 step between two; --val-clips N bounds it"
    )
    (result,) = run_facts(settings.run.path)["results"]
    assert (result["name"], result["split"]) == ("evaluation-during-training", "held out")
    assert sum(result["scores"][0]["asked"]) == len(val)


def test_the_clips_that_evaluations_are_bounded_to_are_balanced_and_the_same_in_every_attempt(dataset, tmp_path):
    flags = {"steps": 2, "evaluate_every": 1, "val_split": "train"}
    every = validation_clips(settings_of(dataset, tmp_path / "all", **flags)).index
    classes = set(every["class"].to_pylist())
    flags["val_clips"] = len(classes)
    chosen = validation_clips(settings_of(dataset, tmp_path / "run", **flags)).index
    assert 1 < len(chosen) < len(every)
    assert Counter(chosen["class"].to_pylist()) == Counter(classes)
    assert validation_clips(settings_of(dataset, tmp_path / "later", **flags)).index.equals(chosen)


def test_seconds_of_a_run_are_those_of_its_work(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "run", steps=2)
    session(settings, stop=True)
    before = settings.run.metrics.read_text().splitlines()
    earlier = [json.dumps({**(line := json.loads(text)), "time": line["time"] - 86_400}) for text in before]
    settings.run.metrics.write_text("".join(f"{text}\n" for text in earlier))  # as if it lay for a day
    session(settings)
    _write_results(settings, dataset)
    lines = [json.loads(text) for text in settings.run.metrics.read_text().splitlines()]
    spans = [(part[0]["time"], part[-1]["time"]) for part in (lines[: len(before)], lines[len(before) :])]
    seconds = json.loads(settings.run.results.read_text())["seconds"]
    assert seconds == pytest.approx(sum(end - begin for begin, end in spans), abs=0.06)
    assert 0 < seconds < 3600


def test_a_run_without_evaluations_ends_with_precise_statistics_where_they_are_asked(dataset, tmp_path):
    states = []
    for batches in (0, 2):
        settings = settings_of(dataset, tmp_path / f"precise{batches}", steps=1, precise_batch_norm=batches)
        session(settings)
        states.append(read_checkpoint(settings.run.last).state_dict)
    plain, precise = states
    differing = {name.rsplit(".", 1)[1] for name in plain if not torch.equal(plain[name], precise[name])}
    assert differing == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_checkpoint_says_what_it_was_trained_on(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "run", steps=1, stream="rgb", classes=("up,left",))
    session(settings)
    checkpoint = read_checkpoint(settings.run.last)
    assert checkpoint.metadata["classes"] == ["left", "up"]
    assert checkpoint.metadata["recipe"]["short_side"] == 32
    assert set(checkpoint.metadata["fingerprint"]) == {"annotations", "recipe", "survivors", "content"}
    assert checkpoint.config["num_classes"] == 2


def test_divergence_ends_the_run_and_names_the_last_good_checkpoint(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "run", steps=6, checkpoint_every=1, learning_rate=1e30, precision="fp32")
    with pytest.raises(JobFailed, match=r"diverged at step \d+: .* last good checkpoint is .*last\.pt"):
        session(settings)
    weights = read_checkpoint(settings.run.last).state_dict
    assert weights  # it can be read; what it holds was finite when it was used
    assert len(numbers(settings.run.path)) < 6


def test_a_run_that_another_driver_has_taken_over_stops(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "run", steps=5)
    settings.run.control("another driver's token")
    with pytest.raises(JobFailed, match="another training has taken over"):
        run_session(settings, Group(torch.device("cpu"), threads=1))


def test_weights_to_start_from_are_taken_without_their_last_layer_where_the_classes_are_others(dataset, tmp_path):
    before = settings_of(dataset, tmp_path / "before", steps=1)
    session(before)
    after = settings_of(dataset, tmp_path / "after", steps=1, classes=("up", "down"), init=tmp_path / "before")
    session(after)
    notes = [json.loads(line) for line in after.run.metrics.read_text().splitlines()]
    assert any("without their last layer" in note.get("text", "") for note in notes)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"stream": "flow"}, "--stream is flow"),
        ({"seed": 1}, "--seed is 1"),
        ({"recipe": "paper"}, "--recipe is paper"),
        ({"workers": 2}, "--workers x --accumulate is 2"),
        ({"classes": ("up", "down")}, "--classes"),
    ],
)
def test_another_config_in_a_run_folder_is_refused_with_the_flag_named(dataset, tmp_path, flags, named):
    first = settings_of(dataset, tmp_path / "run", steps=1)
    first.run.begin(_record(first, dataset))
    first.run.last.parent.mkdir()
    first.run.last.touch()
    second = settings_of(dataset, tmp_path / "run", **{"steps": 2, **flags})
    with pytest.raises(UserError, match=named):
        second.run.begin(_record(second, dataset))
    longer = settings_of(dataset, tmp_path / "run", steps=9, loaders=2)
    longer.run.begin(_record(longer, dataset))


def test_a_run_without_a_checkpoint_may_begin_again_with_other_flags(dataset, tmp_path):
    """One that was refused for a flag, say."""
    first = settings_of(dataset, tmp_path / "run", steps=1, init=tmp_path / "absent.pt")
    first.run.begin(_record(first, dataset))
    second = settings_of(dataset, tmp_path / "run", steps=1, workers=2)
    second.run.begin(_record(second, dataset))
    assert json.loads(second.run.config.read_bytes())["config"]["init"] is None


def test_anothers_config_is_left_alone(dataset, tmp_path):
    run = RunFolder(tmp_path)
    run.config.write_text('{"model": "other"}')
    with pytest.raises(JobFailed, match="another --run"):
        run.begin(_record(settings_of(dataset, tmp_path, steps=1), dataset))
    assert run.config.read_text() == '{"model": "other"}'


def test_a_folder_of_other_things_is_no_run_folder(tmp_path, dataset):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds thesis\.tex"):
        RunFolder(tmp_path).begin({})


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.taken(), pytest.raises(UserError, match="another training is running"), run.taken():
        pass


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"val_split": "test"}, r"--val-split is 'test'; .* holds train, val; --evaluate-every 0 trains without"),
        ({"train_split": "test"}, r"--train-split is 'test'; .* holds train, val$"),
    ],
)
def test_a_split_that_there_is_not_is_said_with_the_flag_that_names_it(dataset, tmp_path, flags, said):
    settings = settings_of(dataset, tmp_path / "run", **{"evaluate_every": 1, **flags})
    with pytest.raises(UserError, match=said):
        _check(settings, begins=False)


def test_a_class_that_there_is_not_is_said_with_those_that_there_are(dataset, tmp_path):
    with pytest.raises(UserError, match=r"class 'upp' is not in .*; allowed: .*up"):
        settings_of(dataset, tmp_path / "run", classes=("upp",))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_is_one_line_that_says_what_to_do_and_leaves_the_last_checkpoint(dataset, tmp_path, monkeypatch):
    settings = settings_of(dataset, tmp_path / "run", steps=2, checkpoint_every=1)
    session(settings, stop=True)
    make = tempfile.mkstemp

    def on_a_full_disk(dir, prefix, suffix):
        descriptor, name = make(dir=dir, prefix=prefix, suffix=suffix)
        if "last.pt" in prefix:
            os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        return descriptor, name

    monkeypatch.setattr(tempfile, "mkstemp", on_a_full_disk)
    with pytest.raises(JobFailed, match=r"^--run is \S+run, whose disk is full \(No space .*\); make room.*goes on$"):
        session(settings)
    monkeypatch.undo()
    assert [path.name for path in settings.run.last.parent.iterdir()] == ["last.pt"]
    assert session(settings).reason == "finished"
