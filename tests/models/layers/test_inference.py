"""Networks folded for a CPU: the same values, from fewer passes; and max-pools by axes."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.layers import inference
from kinetics_pipeline.models.layers.batch_norm import BatchNorm
from kinetics_pipeline.models.layers.inference import FoldedUnit, folded, fused_operator
from kinetics_pipeline.models.layers.padding import max_pool_same, pad, same_paddings
from kinetics_pipeline.models.precision import Precision

LAST = Precision(bf16=False, channels_last=True, reason="")
NETWORKS = {
    "i3d": [(3, 17, 45, 33)],
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
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_this_torch_has_the_fused_operator_and_another_one_of_its_name_is_not_taken(monkeypatch):
    assert fused_operator() is not None

    def without_relu(x, weight, bias, *others):
        return (F.conv3d if x.ndim == 5 else F.conv2d)(x, weight, bias, 1, 1)

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", without_relu)
    assert fused_operator() is None


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
