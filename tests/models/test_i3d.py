"""I3D against its tables, and one block and the head against a derivation of their own in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from kinetics_pipeline.models import InputError, build_model, count_parameters
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.layers.inception import LAYERS, Mixed, MixedBlock


@pytest.fixture(scope="module")
def model() -> I3D:
    torch.manual_seed(0)
    built = build_model("i3d", num_classes=5)
    assert isinstance(built, I3D)
    return built.eval()


@pytest.mark.parametrize(("channels", "expected"), [(3, 12_689_984), (2, 12_668_032)])
def test_the_parameters_are_those_of_the_released_network(channels: int, expected: int) -> None:
    with torch.device("meta"):
        model = build_model("i3d", in_channels=channels)
    assert count_parameters(model) == expected


@pytest.mark.parametrize("size", [(9, 32, 32), (16, 33, 47), (17, 64, 31), (26, 7, 9)])
@torch.no_grad()
def test_every_endpoint_has_its_size_rounded_up(model: I3D, size: tuple[int, int, int]) -> None:
    found = model.endpoints(torch.randn(1, 3, *size))
    expected = list(size)
    for name, layer in LAYERS.items():
        if not isinstance(layer, Mixed):
            expected = [math.ceil(n / s) for n, s in zip(expected, layer.stride, strict=True)]
        assert list(found[name].shape[2:]) == expected, name
    assert found["Mixed_5c"].shape[1] == 1024
    assert found["Logits"].shape[2] == math.ceil(size[0] / 8) - 1
    assert torch.allclose(found["Predictions"].sum(dim=1), torch.ones(1))


@torch.no_grad()
def test_endpoints_end_where_they_are_told_to(model: I3D) -> None:
    found = model.endpoints(torch.randn(1, 3, 9, 16, 16), until="Mixed_3c")
    assert list(found)[-1] == "Mixed_3c"
    assert len(found) == 7
    with pytest.raises(InputError, match=r"no endpoint 'Mixed_9z'; allowed: Conv3d_1a_7x7, "):
        model.endpoints(torch.randn(1, 3, 9, 16, 16), until="Mixed_9z")


@torch.no_grad()
def test_a_clip_gets_the_mean_of_its_steps(model: I3D) -> None:
    clip = torch.randn(2, 3, 25, 32, 32)
    steps = model.dense_logits(clip)
    assert steps.shape == (2, 5, 3)
    torch.testing.assert_close(model(clip), steps.mean(dim=2))


@torch.no_grad()
def test_features_are_what_the_last_layer_sees(model: I3D) -> None:
    clip = torch.randn(1, 3, 25, 32, 32)
    features = model.features(clip)
    assert features.shape == (1, 1024, 3)
    last = model.logits.conv3d
    by_hand = torch.einsum("kc,nct->nkt", last.weight[:, :, 0, 0, 0], features) + last.bias[:, None]
    torch.testing.assert_close(by_hand, model.dense_logits(clip), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_frames_of_256_are_averaged_over_space() -> None:
    model = I3D(num_classes=2).eval()
    assert model.endpoints(torch.randn(1, 3, 9, 256, 256), until="Logits")["Logits"].shape == (1, 2, 1, 2, 2)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (torch.zeros(1, 3, 8, 32, 32), "at least 9 frames, not 8"),
        (torch.zeros(1, 2, 16, 32, 32), "built for 3 channels, not 2"),
        (torch.zeros(3, 16, 32, 32), r"takes clips \[N, C, T, H, W\], not 4 axes"),
        (torch.zeros(1, 3, 16, 32, 32, dtype=torch.uint8), "floating-point"),
        (torch.zeros(0, 3, 16, 32, 32), "at least one value"),
    ],
)
def test_a_wrong_clip_is_refused_in_one_line(model: I3D, clip: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model(clip)
    assert "\n" not in str(caught.value)


def unit_by_hand(x: np.ndarray, block: MixedBlock, name: str) -> np.ndarray:
    """Convolution by zeros-padded windows, normalisation by running statistics, ReLU."""
    state = {key: value.numpy() for key, value in getattr(block, name).state_dict().items()}
    weight = state["conv3d.weight"]
    if weight.shape[2] == 3:
        x = np.pad(x, [(0, 0)] + [(1, 1)] * 3)
    seen = sliding_window_view(x, weight.shape[2:], axis=(1, 2, 3))
    out = np.einsum("cthwijk,ocijk->othw", seen, weight)
    mean, variance, shift = (
        state[f"bn.{part}"][:, None, None, None] for part in ("running_mean", "running_var", "bias")
    )
    return np.maximum((out - mean) / np.sqrt(variance + 1e-3) + shift, 0)


@torch.no_grad()
def test_a_mixed_block_and_the_head_equal_their_derivation_in_numpy() -> None:
    torch.manual_seed(1)
    model = I3D(num_classes=5).double().eval()
    block = model.Mixed_5c
    assert isinstance(block, MixedBlock)
    for name, tensor in block.state_dict().items():
        if "running_mean" in name or name.endswith("bias"):
            tensor.normal_()
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
    x = torch.randn(1, 832, 3, 2, 3, dtype=torch.float64).relu()
    a = x[0].numpy()
    pooled = sliding_window_view(np.pad(a, [(0, 0)] + [(1, 1)] * 3, constant_values=-np.inf), (3, 3, 3), axis=(1, 2, 3))
    expected = np.concatenate(
        [
            unit_by_hand(a, block, "b0"),
            unit_by_hand(unit_by_hand(a, block, "b1a"), block, "b1b"),
            unit_by_hand(unit_by_hand(a, block, "b2a"), block, "b2b"),
            unit_by_hand(pooled.max(axis=(4, 5, 6)), block, "b3b"),
        ]
    )
    mixed = block(x)
    np.testing.assert_allclose(mixed[0].numpy(), expected, rtol=1e-10, atol=1e-12)
    last = model.logits.conv3d
    steps = np.stack([expected[:, t : t + 2].mean(axis=(1, 2, 3)) for t in (0, 1)], axis=1)
    logits = (last.weight[:, :, 0, 0, 0].numpy() @ steps).mean(axis=1) + last.bias.numpy()
    np.testing.assert_allclose(model._logits_map(mixed).mean(dim=(2, 3, 4))[0].numpy(), logits, rtol=1e-10)
