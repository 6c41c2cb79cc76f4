"""Charades from its own CSV: built, learned frame by frame, scored by both mean average precisions."""

import json

import numpy as np
import pytest
import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.models import read_checkpoint
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.training import session, settings_of
from tests.builders.videos import render

ROWS = {
    "train": {"AAAAA": "c001 0.0 0.8", "BBBBB": "c002 0.00 0.80", "CCCCC": "c001 0.0 0.8;c003 0.00 0.80", "DDDDD": ""},
    "test": {"EEEEE": "c001 0.0 0.8", "FFFFF": "c002 0.0 0.4;c003 0.4 0.8"},
}


@pytest.fixture(scope="module")
def charades(tmp_path_factory, driver):
    folder = tmp_path_factory.mktemp("charades")
    (folder / "Charades_v1").mkdir()
    files = []
    for split, rows in ROWS.items():
        text = "id,subject,script,actions,length\n"
        for number, (video, actions) in enumerate(rows.items()):
            motion = "left" if actions.startswith("c001") else "turn"
            render(
                folder / "Charades_v1" / f"{video}.mp4", width=48, height=36, seconds=0.8, motion=motion, seed=number
            )
            text += f'{video},S1,"Someone, somewhere.",{actions},0.80\n'
        file = folder / f"Charades_v1_{split}.csv"
        file.write_text(text)
        files.append(str(file))
    words = ["build", *files, "--source", str(folder / "Charades_v1"), "--output", str(folder / "dataset")]
    words += ["--cache", str(folder / "cache"), "--short-side", "32", "--flow-backend", "cpu"]
    code, said = driver.run(words)
    assert code == 0, said
    return Dataset.open(folder / "dataset")


@pytest.mark.slow
@pytest.mark.parametrize("split", ROWS)
def test_a_sample_s_targets_are_the_actions_at_its_frames(charades, split):
    assert charades.classes == ["c001", "c002", "c003"]
    clips = ClipDataset(charades.store.uri, split, "flow", 12, 32, seed=3)
    clips.set_epoch(0)
    frames = {clip["clip_id"]: clip["frames"] for clip in clips.index.to_pylist()}
    assert set(frames) == set(ROWS[split])
    for number in range(len(clips)):
        sample = clips[number]
        assert sample["label"] == -1
        _, snippet = clips.snippet_of(number)
        times = snippet.frames / 25
        expected = np.zeros((3, 12), np.float32)
        for part in filter(None, ROWS[split][sample["clip_id"]].split(";")):
            label, start, end = part.split()
            expected[int(label[1:]) - 1] = (times >= float(start)) & (times <= float(end))
        np.testing.assert_array_equal(sample["targets"].numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("renumber", [False, True])
def test_chosen_classes_leave_the_videos_in_which_one_of_them_happens(charades, renumber):
    options = {"classes": ["c003", "c002"], "renumber": renumber, "train": False}
    clips = ClipDataset(charades.store.uri, "train", "flow", None, 32, **options)
    assert sorted(clips.index["clip_id"].to_pylist()) == ["BBBBB", "CCCCC"]
    assert clips.classes == (["c002", "c003"] if renumber else ["c001", "c002", "c003"])
    for sample in map(clips.__getitem__, range(2)):
        happening = [clips.classes[number] for number in sample["targets"].any(dim=1).nonzero().flatten().tolist()]
        expected = {"BBBBB": ["c002"], "CCCCC": ["c003"] if renumber else ["c001", "c003"]}
        assert happening == expected[sample["clip_id"]]
    assert len(ClipDataset(charades.store.uri, "train", "flow", None, 32, classes=charades.classes)) == 4


@pytest.mark.slow
def test_actions_are_learned_by_heart_and_scored(charades, tmp_path):
    flags = {"stream": "rgb", "frames": 16, "batch_size": 4, "steps": 40, "dropout": 0.0, "flip": False}
    flags |= {"batch_norm_momentum": 0.3, "val_split": "train"}  # else running statistics lag behind so short a run
    flags["evaluate_every"] = 40
    settings = settings_of(charades, tmp_path / "run", learning_rate=0.05, scale_learning_rate=False, **flags)
    assert session(settings).reason == "finished"
    lines = [json.loads(line) for line in settings.run.metrics.read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    (evaluated,) = [line for line in lines if line["kind"] == "evaluation"]
    words = ["evaluate", charades.store.uri, "--rgb", str(tmp_path / "run"), "--loaders", "0"]
    assert run([*words, "--split", "train"]) == 0
    score = json.loads((tmp_path / "run" / "evaluation-train.json").read_text())["scores"]["rgb"]
    assert score["videos"] == 4
    assert score["classification_map"] > 0.7
    assert 0 < score["localisation_map"] <= 1
    for name in ("classification_map", "localisation_map"):
        assert evaluated[name] == pytest.approx(score[name], abs=1e-3)
    assert read_checkpoint(settings.run.best).metadata["val"]["loss"] == pytest.approx(evaluated["loss"])
    assert torch.isfinite(torch.tensor(list(score.values()))).all()


@pytest.mark.slow
def test_what_cannot_learn_several_actions_is_refused(charades, tmp_path, capsys):
    words = ["train", charades.store.uri, "--run", str(tmp_path / "run"), "--frames", "16", "--crop", "32"]
    assert run([*words, "--steps", "1", "--model", "convnet_lstm"]) == 2
    assert "--model is convnet_lstm" in capsys.readouterr().err
