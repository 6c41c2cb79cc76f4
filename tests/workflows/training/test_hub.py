"""`--init hf://OWNER/NAME`: weights from the Hugging Face Hub's local cache, without a network."""

import sys

import huggingface_hub.constants
import pytest
import torch

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models import Checkpoint, build_model, save_checkpoint
from kinetics_pipeline.workflows.training.hub import local_weights
from kinetics_pipeline.workflows.training.weights import initial_weights
from tests.builders.motion import build_motion
from tests.builders.training import settings_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache, with no way to fetch more into it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


def published(cache, name="lab/i3d"):
    """The folder of a repository's version, as `snapshot_download` leaves it."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_network_on_the_hub_is_where_a_training_starts(cache, tmp_path):
    dataset = build_motion(tmp_path, splits={"train": 4}, count=9)
    config = {"num_classes": len(dataset.classes), "in_channels": 3}
    torch.manual_seed(1)
    state = build_model("i3d", **config).state_dict()
    save_checkpoint(Checkpoint("i3d", config, state, None, {"classes": dataset.classes}), published(cache))
    settings = settings_of(dataset, tmp_path / "run", init="hf://lab/i3d")
    assert settings.config.init == "hf://lab/i3d"  # no path is made of it
    model = build_model("i3d", **config)
    said = initial_weights(model, settings.config.init, settings)
    assert said[0] == f"hf://lab/i3d is at commit {COMMIT}"
    assert "with their last layer" in said[1]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())


def test_one_file_of_a_repository_may_be_named(cache):
    snapshot = published(cache)
    (snapshot / "weights").mkdir()
    (snapshot / "weights" / "rgb.pt").touch()
    assert local_weights("hf://lab/i3d/weights/rgb.pt")[0] == snapshot / "weights" / "rgb.pt"
    assert local_weights(f"hf://lab/i3d@{COMMIT}/weights/rgb.pt")[0] == snapshot / "weights" / "rgb.pt"


def test_a_single_safetensors_file_is_taken_and_of_several_one_has_to_be_named(cache):
    snapshot = published(cache)
    (snapshot / "rgb.safetensors").touch()
    assert local_weights("hf://lab/i3d")[0] == snapshot / "rgb.safetensors"
    (snapshot / "flow.safetensors").touch()
    with pytest.raises(UserError, match=r"has 2 other safetensors files and no model\.safetensors; name a file: "):
        local_weights("hf://lab/i3d")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("hf://lab", "allowed: hf://OWNER/NAME"),
        ("hf://datasets/lab/kinetics", "allowed: hf://OWNER/NAME"),
        ("hf://lab/i3d/../../secret", "allowed: hf://OWNER/NAME"),
        ("hf://lab/absent", "cannot be fetched"),
        ("hf://lab/absent/file.pt", "cannot be fetched"),
        ("hf://lab/-bad-", "cannot be fetched"),
    ],
)
def test_what_is_not_there_or_not_an_address_is_one_line(cache, place, said):
    with pytest.raises(UserError, match=said) as raised:
        local_weights(place)
    assert len(str(raised.value).splitlines()) == 1
    assert place in str(raised.value)


def test_without_huggingface_hub_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        local_weights("hf://lab/i3d")
