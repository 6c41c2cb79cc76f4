"""UCF-101 from its own folders and lists: built, then trained and scored on one of its splits."""

import json

import pytest
import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.models import build_model, read_checkpoint
from kinetics_pipeline.models.training.freezing import freeze_features
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig
from tests.builders.training import session, settings_of
from tests.builders.videos import render

MOTIONS = {"Sliding": "left", "Turning": "turn"}


def make_ucf(folder):
    """Eight AVIs of two classes in UCF-101/CLASS/, and two splits of them in ucfTrainTestlist/."""
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Sliding\n2 Turning\n")
    on = dict.fromkeys(("trainlist01", "testlist01", "trainlist02", "testlist02"), "")
    for number, (label, motion) in enumerate(MOTIONS.items(), start=1):
        (folder / "UCF-101" / label).mkdir(parents=True)
        for clip in range(4):
            name = f"{label}/v_{label}_g{clip:02d}_c01.avi"
            seed = 10 * number + clip
            render(folder / "UCF-101" / name, width=48, height=36, seconds=0.8, motion=motion, speed=1.5, seed=seed)
            for split in (1, 2):
                if clip == split:
                    on[f"testlist0{split}"] += f"{name}\n"
                else:
                    on[f"trainlist0{split}"] += f"{name} {number}\n"
    for name, text in on.items():
        (lists / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def ucf(tmp_path_factory, driver):
    folder = make_ucf(tmp_path_factory.mktemp("ucf"))
    words = ["build", str(folder / "ucfTrainTestlist"), "--source", str(folder / "UCF-101")]
    words += ["--output", str(folder / "dataset"), "--cache", str(folder / "cache")]
    code, said = driver.run([*words, "--short-side", "32", "--flow-backend", "cpu"])
    assert code == 0, said
    return Dataset.open(folder / "dataset")


@pytest.mark.slow
def test_the_lists_of_each_split_choose_clips_of_one_dataset(ucf):
    def ids(split):
        return set(ClipDataset(ucf.store.uri, split, "flow", 9, 32).index["clip_id"].to_pylist())

    assert ids("test1") == {"v_Sliding_g01_c01", "v_Turning_g01_c01"}
    assert ids("test2") == {"v_Sliding_g02_c01", "v_Turning_g02_c01"}
    assert ids("train1") | ids("test1") == ids("train2") | ids("test2") == ids(None)
    assert not ids("train1") & ids("test1")
    with pytest.raises(UserError, match=r"'test3'; .* holds all, test1, test2, train1, train2"):
        ids("test3")


@pytest.mark.slow
def test_fixed_features_stay_to_the_bit_and_the_last_layer_learns(ucf, tmp_path):
    torch.manual_seed(0)
    start = build_model("i3d", 5, 2)
    torch.save(start.state_dict(), tmp_path / "kinetics.pt")
    flags = {"stream": "flow", "train_split": "train1", "val_split": "test1", "steps": 3, "evaluate_every": 3}
    settings = settings_of(
        ucf, tmp_path / "run", init=tmp_path / "kinetics.pt", freeze_features=True, learning_rate=1.0, **flags
    )
    session(settings)
    weights = read_checkpoint(settings.run.last).state_dict
    before = start.state_dict()
    for name, tensor in weights.items():
        if name.startswith("logits."):
            assert tensor.shape[0] == 2
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, before[name]), name
    fresh = build_model("i3d", 2, 2).state_dict()
    assert weights["logits.conv3d.weight"].shape == fresh["logits.conv3d.weight"].shape
    assert weights["logits.conv3d.bias"].abs().max() > 0  # it began at zero

    words = ["evaluate", ucf.store.uri, "--flow", str(tmp_path / "run"), "--split", "test1", "--loaders", "0"]
    assert run(words) == 0
    results = json.loads((tmp_path / "run" / "evaluation-test1.json").read_text())
    assert (results["coverage"]["asked"], results["coverage"]["ok"]) == (2, 2)
    assert results["scores"]["flow"]["clips"] == 2


@pytest.mark.parametrize("name", ["i3d", "c3d", "convnet_lstm", "two_stream", "fused_two_stream"])
def test_of_frozen_features_nothing_but_the_last_layer_changes_in_a_step(name):
    torch.manual_seed(0)
    options = {"crop_size": 32} if name == "c3d" else {}
    model = build_model(name, 3, 3, dropout=0.0, **options)
    freeze_features(model)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    clip = torch.randn(2, 5 if "stream" in name else 3, 16, 32, 32)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(clip).square().sum().backward()
    optimiser.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.partition("logits")[1] for k in changed), changed


def test_freezing_features_that_were_never_trained_is_refused(tmp_path):
    with pytest.raises(UserError, match="--init"):
        TrainConfig(run=tmp_path, freeze_features=True)
