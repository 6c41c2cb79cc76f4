"""Networks folded for a CPU: the same values, from fewer passes; and max-pools by axes."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.layers import inference, time_tiles
from kinetics_pipeline.models.layers.batch_norm import BatchNorm
from kinetics_pipeline.models.layers.inference import FoldedUnit, folded, fused_operator
from kinetics_pipeline.models.layers.padding import max_pool_same, pad, same_paddings
from kinetics_pipeline.models.layers.time_tiles import TimeTiles
from kinetics_pipeline.models.precision import Precision

LAST = Precision(bf16=False, channels_last=True, reason="")
NETWORKS = {
    "i3d": [(3, 17, 90, 66)],
    "convnet_lstm": [(3, 25, 48, 48)],
    "two_stream": [(3, 10, 40, 40), (2, 10, 40, 40)],
}


@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_logits_of_the_whole_one(name, fuses, monkeypatch):
    if not fuses:
        monkeypatch.setattr(inference, "fused_operator", lambda: None)
    torch.manual_seed(0)
    network = build_model(name, num_classes=5).eval()
    for module in network.modules():
        if isinstance(module, BatchNorm):  # as if it had been trained
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.5, 0.5)
            module.weight.uniform_(0.5, 1.5)
    inputs = [torch.rand(2, *shape) * 2 - 1 for shape in NETWORKS[name]]
    with torch.inference_mode():
        expected = network(*inputs)
        found = folded(LAST.prepare(network))(*map(LAST.place, inputs))
    assert sum(isinstance(module, FoldedUnit) for module in network.modules()) >= 57
    assert any(isinstance(module, TimeTiles) for module in network.modules()) == (name == "i3d")
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_this_torch_has_the_fused_operator_and_another_one_of_its_name_is_not_taken(monkeypatch):
    assert fused_operator() is not None

    def without_relu(x, weight, bias, *others):
        return (F.conv3d if x.ndim == 5 else F.conv2d)(x, weight, bias, 1, 1)

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", without_relu)
    assert fused_operator() is None


@pytest.mark.parametrize("values_at_once", [1, 10**9])
def test_a_convolution_by_tiles_of_time_is_the_one_of_all_frames(values_at_once, monkeypatch):
    monkeypatch.setattr(time_tiles, "VALUES_AT_ONCE", values_at_once)
    weight, bias = torch.randn(7, 5, 3, 3, 3) / 12, torch.randn(7)
    tiled = TimeTiles(weight, bias, partial(F.conv2d, padding=1))
    for frames in range(1, 11):
        x = torch.randn(2, 5, frames, 6, 4)
        expected = torch.relu(F.conv3d(x, weight, bias, padding=1))
        found = tiled(x.contiguous(memory_format=torch.channels_last_3d))
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
def test_a_max_pool_by_axes_is_that_over_all_of_them(kernel, stride):
    for frames, height, width in itertools.product((1, 2, 3, 8, 9), (5, 8), (4, 7)):
        x = torch.randn(2, 6, frames, height, width)
        expected = F.max_pool3d(pad(x, same_paddings(x, kernel, stride), -torch.inf), kernel, stride)
        found = max_pool_same(x.contiguous(memory_format=torch.channels_last_3d), kernel, stride)
        assert torch.equal(found, expected)
