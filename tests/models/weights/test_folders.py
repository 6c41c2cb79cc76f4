"""A network as a folder of model.safetensors and config.json: to and from, and folders that others made."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinetics_pipeline.models import (
    Checkpoint,
    InputError,
    build_model,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from kinetics_pipeline.models.weights.conversion import as_checkpoint
from tests.builders.foreign_checkpoints import i3d

METADATA = {"classes": ["a", "b"], "recipe": {"fps": 25}, "fingerprint": {"content": "abc"}, "stream": "rgb", "step": 7}
OPTIONS = {"num_classes": 2, "in_channels": 3, "bn_eps": 1e-5}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    state = build_model("inception2d", **OPTIONS).state_dict()
    save_checkpoint(Checkpoint("inception2d", OPTIONS, state, None, METADATA), tmp_path / "network")
    return tmp_path / "network"


def test_what_is_written_is_read_again_to_the_bit_and_says_classes_recipe_and_fingerprint(folder):
    said = json.loads((folder / "config.json").read_text())
    assert {name: said[name] for name in METADATA} == METADATA
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = read_checkpoint(folder)
    assert (again.model, again.config, again.metadata, again.training) == ("inception2d", OPTIONS, METADATA, None)
    model = again.build()
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.equal(tensor, model.state_dict()[name])
    kind, converted = as_checkpoint(folder)
    assert str(kind) == "own"
    assert converted.metadata == METADATA


def test_weights_of_others_in_such_a_folder_are_recognised_by_their_names(tmp_path):
    state = {name: tensor.contiguous() for name, tensor in i3d(classes=5).items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architectures": ["I3D"]}')
    model = build_model("i3d", num_classes=5)
    assert load_checkpoint(model, tmp_path) == "port"
    assert torch.equal(model.logits.conv3d.weight, state["logits.conv3d.weight"])
    with pytest.raises(InputError, match="not one of our checkpoints"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "kinetics-pipeline checkpoint 1"}', '{"a":' * 100_000])
def test_a_damaged_config_is_one_line(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match="damaged") as raised:
        read_checkpoint(folder)
    assert len(str(raised.value).splitlines()) == 1


def test_a_folder_of_other_things_is_not_written_to_and_training_state_has_no_place_in_one(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    state = {"logits.weight": torch.zeros(2, 2)}
    with pytest.raises(InputError, match="holds other files"):
        save_checkpoint(Checkpoint("inception2d", OPTIONS, state), tmp_path / "thesis")
    with pytest.raises(InputError, match="no training state"):
        save_checkpoint(Checkpoint("inception2d", OPTIONS, state, {"step": 1}), tmp_path / "new")
    assert not (tmp_path / "new").exists()
