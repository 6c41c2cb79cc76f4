"""Batch normalisation: precise, frozen, synchronised, and computed twice under activation checkpointing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kinetics_pipeline.models import MODELS, build_model
from kinetics_pipeline.models.layers.batch_norm import (
    BatchNorm,
    SyncBatchNorm,
    convert_sync_batch_norm,
    freeze_batch_norm,
    precise_batch_norm,
)
from kinetics_pipeline.models.layers.batch_norm_lstm import BatchNormLSTM


def test_precise_statistics_are_those_of_all_batches_together() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(BatchNorm(3), nn.Dropout(0.5))
    batches = [torch.randn(500, 3, 40) * scale + scale for scale in (1.0, 2.0, 5.0)]
    assert precise_batch_norm(model, [(batch,) for batch in batches]) == 3
    together = torch.cat(batches).transpose(0, 1).flatten(1)
    torch.testing.assert_close(model[0].running_mean, together.mean(dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model[0].running_var, together.var(dim=1), rtol=1e-3, atol=1e-3)
    assert model[0].momentum == 0.001
    assert model.training


@pytest.mark.parametrize("name", MODELS)
def test_precise_statistics_reach_every_norm_of_every_network(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=2, **({"crop_size": 16} if name == "c3d" else {}))
    clip = {stream: torch.randn(3, 2 if stream == "flow" else 3, 20, 16, 16) for stream in model.inputs}  # type: ignore[union-attr]
    before = {n: b.clone() for n, b in model.named_buffers() if n.endswith(("running_mean", "running_var"))}
    momenta = [m.momentum for m in model.modules() if hasattr(m, "momentum")]
    precise_batch_norm(model, [tuple(clip.values())])
    for buffer_name, old in before.items():
        new = model.get_buffer(buffer_name)
        rows = slice(0, 4) if new.ndim == 2 else slice(None)  # of the LSTM the four steps of twenty frames
        first = (
            new[rows][1:] if buffer_name.endswith("bn_recurrent.running_mean") else new[rows]
        )  # its state begins at 0
        assert not torch.equal(first, old[rows][-len(first) :]), buffer_name
        if new.ndim == 2:
            assert torch.equal(new[4:], old[4:])
    assert [m.momentum for m in model.modules() if hasattr(m, "momentum")] == momenta


def test_precise_statistics_of_the_lstm_are_those_of_each_time_step() -> None:
    torch.manual_seed(0)
    lstm = BatchNormLSTM(6, 4, steps=5)
    batches = [torch.randn(400, 3, 6) * scale + scale for scale in (1.0, 3.0)]
    precise_batch_norm(lstm, [(batch,) for batch in batches])
    entered = lstm.input(torch.cat(batches)).detach()
    for step in range(3):
        torch.testing.assert_close(lstm.bn_input.running_mean[step], entered[:, step].mean(dim=0), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(lstm.bn_input.running_var[step], entered[:, step].var(dim=0), rtol=1e-2, atol=1e-3)
    assert torch.equal(lstm.bn_input.running_var[3:], torch.ones(2, 16))


def test_frozen_statistics_and_shifts_outlast_training_mode() -> None:
    model = build_model("i3d", num_classes=2)
    freeze_batch_norm(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if ".bn." in name}
    model.train()
    model(torch.randn(2, 3, 9, 16, 16)).sum().backward()
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(p.grad is None for name, p in model.named_parameters() if ".bn." in name)
    assert model.Conv3d_1a_7x7.conv3d.weight.grad is not None  # type: ignore[union-attr]


def test_synchronised_normalisation_keeps_names_values_and_the_fixed_scale() -> None:
    torch.manual_seed(0)
    model = build_model("i3d", num_classes=2).eval()
    for module in model.modules():
        if isinstance(module, BatchNorm):
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 2)
    clip = torch.randn(1, 3, 9, 16, 16)
    expected, names = model(clip), list(model.state_dict())
    parameters = [name for name, _ in model.named_parameters()]
    convert_sync_batch_norm(model)
    assert not any(isinstance(module, BatchNorm) for module in model.modules())
    assert sum(isinstance(module, SyncBatchNorm) for module in model.modules()) == 57
    assert sorted(model.state_dict()) == sorted(names)
    assert sorted(name for name, _ in model.named_parameters()) == sorted(parameters)
    torch.testing.assert_close(model(clip), expected)


def test_checkpointed_activations_change_neither_gradients_nor_statistics() -> None:
    torch.manual_seed(0)
    plain = build_model("i3d", num_classes=2, dropout=0.0)
    checkpointed = build_model("i3d", num_classes=2, dropout=0.0, checkpoint_activations=True)
    checkpointed.load_state_dict(copy.deepcopy(plain.state_dict()))
    clip = torch.randn(2, 3, 9, 32, 32)
    for model in (plain, checkpointed):
        model(clip).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name  # type: ignore[arg-type]
    for (name, a), b in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(a, b), name
