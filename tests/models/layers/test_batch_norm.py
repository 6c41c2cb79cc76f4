"""Batch normalisation: precise, frozen, synchronised, and computed twice under activation checkpointing."""

from __future__ import annotations

import copy

import torch
from torch import nn

from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.layers.batch_norm import (
    BatchNorm,
    SyncBatchNorm,
    convert_sync_batch_norm,
    freeze_batch_norm,
    precise_batch_norm,
)


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
