"""What `train --init` takes of a file, and what it says about it."""

from __future__ import annotations

import json

import pytest
import torch

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models import Checkpoint, build_model, read_checkpoint, save_checkpoint
from kinetics_pipeline.models.layers.batch_norm import epsilon_of
from kinetics_pipeline.workflows.training.weights import initial_weights
from tests.builders.foreign_checkpoints import googlenet, hassony2, i3d
from tests.builders.motion import build_motion
from tests.builders.training import session, settings_of


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 4}, count=9)


@pytest.fixture(scope="module")
def model(dataset):
    return build_model("i3d", num_classes=len(dataset.classes))


def lines_of(network, dataset, tmp_path, **flags):
    settings = settings_of(dataset, tmp_path / "run", **flags)
    return " / ".join(initial_weights(network, settings.config.init, settings))


def test_a_last_layer_whose_class_order_is_unknown_is_said_and_begun_again_when_asked(dataset, model, tmp_path):
    state = hassony2(i3d(classes=len(dataset.classes)))
    torch.save(state, tmp_path / "w.pt")
    said = lines_of(model, dataset, tmp_path, init=tmp_path / "w.pt")
    assert "hassony2" in said
    assert "the file does not say their order" in said
    assert "--new-head" in said
    assert "0.001 is assumed" in said
    assert torch.equal(model.logits.conv3d.weight, state["conv3d_0c_1x1.conv3d.weight"])
    with torch.no_grad():
        model.logits.conv3d.weight.fill_(7)
    said = lines_of(model, dataset, tmp_path, init=tmp_path / "w.pt", new_head=True)
    assert "its last layer is new (--new-head)" in said
    assert "order" not in said
    assert bool((model.logits.conv3d.weight == 7).all())


def test_a_last_layer_of_the_same_classes_is_kept_and_of_others_is_not(dataset, model, tmp_path):
    config = {"num_classes": len(dataset.classes), "in_channels": 3}
    state = i3d(classes=len(dataset.classes))
    for classes, kept in ((dataset.classes, True), (dataset.classes[::-1], False)):
        with torch.no_grad():
            model.logits.conv3d.weight.fill_(7)
        save_checkpoint(Checkpoint("i3d", config, state, None, {"classes": list(classes)}), tmp_path / "own.pt")
        said = lines_of(model, dataset, tmp_path, init=tmp_path / "own.pt")
        assert ("with their last layer" in said) is kept
        assert bool((model.logits.conv3d.weight == 7).all()) is not kept
        assert "order" not in said


def test_a_part_of_a_file_that_was_taken_is_said(dataset, model, tmp_path):
    torch.save({"model_ema": i3d(classes=3), "model": i3d(classes=3)}, tmp_path / "w.pt")
    said = lines_of(model, dataset, tmp_path, init=tmp_path / "w.pt")
    assert "without their last layer, which does not fit" in said
    assert "'model' in it was taken, not 'model_ema'" in said


def test_imagenet_s_weights_fill_inception2d_and_are_inflated_for_i3d(dataset, model, tmp_path):
    torch.save(googlenet(), tmp_path / "googlenet.pth")
    assert "inflated from" in lines_of(model, dataset, tmp_path, init=tmp_path / "googlenet.pth")
    flat = build_model("inception2d", num_classes=len(dataset.classes))
    said = lines_of(flat, dataset, tmp_path, init=tmp_path / "googlenet.pth", model="inception2d")
    assert "(googlenet), without their last layer" in said
    assert torch.equal(flat.trunk.Conv2d_1a_7x7.conv2d.weight, googlenet()["conv1.conv.weight"])


def test_a_folder_that_is_no_run_is_refused_with_what_it_is(dataset, model, tmp_path):
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "model.ckpt.index").touch()
    with pytest.raises(UserError, match=r"--init is .*imagenet, a folder without checkpoints .*imagenet/model\.ckpt"):
        lines_of(model, dataset, tmp_path, init=tmp_path / "imagenet")


def test_the_eps_of_a_run_is_kept_in_its_checkpoints_and_in_what_begins_with_them(dataset, tmp_path):
    first = settings_of(dataset, tmp_path / "first", steps=1, bn_eps=1e-5)
    session(first)
    assert read_checkpoint(first.run.last).config["bn_eps"] == 1e-5
    assert epsilon_of(read_checkpoint(first.run.last).build()) == 1e-5
    second = settings_of(dataset, tmp_path / "second", steps=1, init=tmp_path / "first")
    session(second, stop=True)
    assert read_checkpoint(second.run.last).config["bn_eps"] == 1e-5
    notes = [json.loads(line).get("text", "") for line in second.run.metrics.read_text().splitlines()]
    assert any("with their last layer" in note for note in notes)
