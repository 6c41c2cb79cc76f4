"""The choice between fp32 and bf16."""

from __future__ import annotations

import copy
import re

import pytest
import torch

from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.precision import BF16, FP32, Precision, Trial, choose_precision, judge

LOGITS = torch.tensor([[1.0, -2.0]])


def trial(seconds: float, logits: torch.Tensor = LOGITS, gradient: torch.Tensor = LOGITS) -> Trial:
    return Trial(seconds, logits, gradient)


@pytest.mark.parametrize(
    ("bf16", "chosen", "reason"),
    [
        (trial(0.1), True, "bf16: one step takes 0.1 s in bf16, 0.3 s in fp32"),
        (trial(5.6), False, "fp32: one step takes 5.6 s in bf16, 0.3 s in fp32"),
        (trial(0.1, logits=-LOGITS), False, "logits are off by 2 of their norm"),
        (trial(0.1, gradient=LOGITS * 3), False, "the gradient by 2"),
        (trial(0.1, gradient=LOGITS * float("inf")), False, "the gradient by (inf|nan)"),
        (trial(0.1, logits=LOGITS * float("nan")), False, "off by nan"),
    ],
)
def test_bf16_is_chosen_only_where_it_is_faster_and_right(bf16: Trial, chosen: bool, reason: str) -> None:
    choice = judge(trial(0.3), bf16)
    assert (choice.bf16, choice.channels_last) == (chosen, chosen)
    assert re.search(reason, choice.reason)


@pytest.mark.parametrize("training", [True, False])
def test_choosing_leaves_model_and_random_numbers_as_they_were(training: bool) -> None:
    torch.manual_seed(0)
    model = build_model("i3d", num_classes=2)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    choice = choose_precision(model, [torch.randn(2, 3, 9, 32, 32, generator=torch.Generator())], training=training)
    assert isinstance(choice, Precision)
    assert choice.reason.startswith(("fp32: ", "bf16: "))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_what_is_asked_for_is_taken() -> None:
    model = build_model("i3d", num_classes=2)
    clip = [torch.zeros(1, 3, 9, 16, 16)]
    assert choose_precision(model, clip, training=True, choice="fp32") == FP32
    assert choose_precision(model, clip, training=True, choice="bf16") == BF16


def test_bf16_and_another_memory_order_change_the_logits_by_little() -> None:
    torch.manual_seed(0)
    model = build_model("i3d", num_classes=4).eval()
    clip = torch.rand(1, 3, 16, 48, 48) * 2 - 1
    with torch.no_grad():
        expected = model(clip)
        BF16.prepare(model)
        assert model.Conv3d_2c_3x3.conv3d.weight.is_contiguous(memory_format=torch.channels_last_3d)  # type: ignore[union-attr]
        with BF16.autocast(torch.device("cpu")):
            found = model(BF16.place(clip)).float()
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.05
