"""Inflated weights: a video of one picture gives what the picture gives ("Quo Vadis", section 2.4)."""

from __future__ import annotations

import pytest
import torch

from kinetics_pipeline.models import InputError, build_model, inflate
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.inception2d import InceptionFeatures
from kinetics_pipeline.models.layers import padding
from kinetics_pipeline.models.weights.names import googlenet_unit, units


def network_2d(channels: int = 3) -> InceptionFeatures:
    """Random statistics too, so that nothing is right by being at its first value."""
    torch.manual_seed(0)
    network = InceptionFeatures(channels).double().eval()
    for name, tensor in network.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.1)
        elif name.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5)
    return network


def network_3d(channels: int = 3) -> I3D:
    model = build_model("i3d", num_classes=4, in_channels=channels)
    assert isinstance(model, I3D)
    return model.double().eval()


@torch.no_grad()
def test_a_boring_video_is_a_fixed_point_where_no_edge_reaches() -> None:
    """Of the 16 steps of 128 frames, only 6 to 9 are out of reach of the zeros before and after the clip."""
    flat, deep = network_2d(), network_3d()
    inflate(deep, flat.state_dict())
    picture = torch.rand(1, 3, 20, 26, dtype=torch.float64) * 2 - 1
    expected = flat.trunk(picture)
    found = deep.trunk(picture[:, :, None].expand(-1, -1, 128, -1, -1))
    assert found.shape[2] == 16
    error = [float((found[:, :, t] - expected).abs().max() / expected.abs().max()) for t in range(16)]
    assert max(error[6:10]) < 1e-11
    assert min(error[5], error[10]) > 1e-9


@torch.no_grad()
def test_with_its_ends_repeated_a_video_is_a_fixed_point_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:

    def replicate(x: torch.Tensor, paddings: list[tuple[int, int]], value: float) -> torch.Tensor:
        front, back = paddings[0]
        ends = [x[:, :, :1].expand(-1, -1, front, -1, -1), x, x[:, :, -1:].expand(-1, -1, back, -1, -1)]
        (top, bottom), (left, right) = paddings[1:]
        return torch.nn.functional.pad(torch.cat(ends, dim=2), (left, right, top, bottom), value=value)

    flat, deep = network_2d(), network_3d()
    picture = torch.rand(1, 3, 20, 26, dtype=torch.float64) * 2 - 1
    expected = flat.trunk(picture)
    inflate(deep, flat.state_dict())

    def convolve(conv: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        padded = replicate(x, padding.same_paddings(x, conv.kernel_size, conv.stride), 0.0)
        return torch.nn.functional.conv3d(padded, conv.weight, None, conv.stride)

    monkeypatch.setattr("kinetics_pipeline.models.layers.inception.convolve_same", convolve)
    found = deep.trunk(picture[:, :, None].expand(-1, -1, 32, -1, -1))
    error = (found - expected[:, :, None]).abs().max() / expected.abs().max()
    assert error < 1e-11


def test_torchvisions_names_give_the_same_network_as_ours() -> None:
    flat = network_2d().state_dict()
    googlenet = {"fc.weight": torch.zeros(1000, 1024), "aux1.conv.conv.weight": torch.zeros(1)}
    for unit in units():
        ours, theirs = unit.replace("Conv3d", "Conv2d"), googlenet_unit(unit)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            googlenet[f"{theirs}.bn.{part}"] = flat[f"{ours}.bn.{part}"]
        googlenet[f"{theirs}.conv.weight"] = flat[f"{ours}.conv2d.weight"]
    first, second = network_3d(), network_3d()
    inflate(first, flat)
    inflate(second, googlenet)
    trunk = {name: tensor for name, tensor in first.state_dict().items() if not name.startswith("logits.")}
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in trunk.items())


def test_flow_starts_from_the_mean_over_rgb() -> None:
    flat, deep = network_2d(), network_3d(channels=2)
    inflate(deep, flat.state_dict())
    kernel = deep.Conv3d_1a_7x7.conv3d.weight  # type: ignore[union-attr]
    mean = flat.Conv2d_1a_7x7.conv2d.weight.mean(dim=1) / 7  # type: ignore[union-attr, operator]
    for channel in (0, 1):
        for t in (0, 6):
            torch.testing.assert_close(kernel[:, channel, t], mean)  # type: ignore[index]


def test_weights_that_lack_a_unit_are_refused_by_its_name() -> None:
    weights = dict(network_2d().state_dict())
    del weights["Mixed_4d.b1b.conv2d.weight"]
    with pytest.raises(InputError, match=r"lack Mixed_4d\.b1b\.conv2d\.weight"):
        inflate(network_3d(), weights)
