"""Batch normalisation as the released I3D has it: a learned shift, no learned scale (Sonnet's `scale=False`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinetics_pipeline.models.errors import InputError

EPSILON = 1e-3
MOMENTUM = 0.001
"""PyTorch's momentum is one minus TensorFlow's decay, 0.999. Runs of less than some thousand steps want more, or
`precise_batch_norm` at the end."""


class BatchNorm(_BatchNorm):
    """[N, C, ...] -> the same. `weight` is a buffer of ones: in the state dict under the name of the public ports, but
    neither trained nor counted. Weights inflated from an ImageNet network that had a scale keep it there.
    """

    weight: Tensor  # type: ignore[assignment]
    bias: nn.Parameter

    def __init__(self, channels: int, momentum: float = MOMENTUM) -> None:
        super().__init__(channels, eps=EPSILON, momentum=momentum, affine=False)
        _make_scale_fixed(self, channels)
        self.frozen = False

    def train(self, mode: bool = True) -> BatchNorm:
        """Sets the mode as any module does, but a frozen one stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes after the channels will do."""


class SyncBatchNorm(nn.SyncBatchNorm):
    """`BatchNorm` whose batch is that of all processes; torch's own converter wants a learned scale."""

    def __init__(self, channels: int, momentum: float | None) -> None:
        super().__init__(channels, eps=EPSILON, momentum=momentum, affine=False)
        _make_scale_fixed(self, channels)


def _make_scale_fixed(module: _BatchNorm, channels: int) -> None:
    del module._parameters["weight"]
    module.register_buffer("weight", torch.ones(channels))
    module.bias = nn.Parameter(torch.zeros(channels))


def convert_sync_batch_norm(model: nn.Module) -> nn.Module:
    """Replaces every trainable `BatchNorm` in `model` by one over all processes, in place; names and values stay."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchNorm) and not child.frozen:
                synchronised = SyncBatchNorm(child.num_features, child.momentum)
                synchronised.eps = child.eps
                synchronised.load_state_dict(child.state_dict())
                synchronised.to(child.bias.device, child.bias.dtype)
                synchronised.train(child.training)
                setattr(parent, name, synchronised)
    return model


def set_epsilon(model: nn.Module, epsilon: float) -> None:
    """What every batch normalisation of `model` adds to the variance. No file of weights holds this number.

    Raises InputError for a number that is not above 0.
    """
    if not 0 < epsilon < 1:
        raise InputError(
            f"the eps of batch normalisation is {epsilon}; allowed: above 0, 0.001 in the released networks"
        )
    for module in model.modules():
        if isinstance(module, _BatchNorm) or hasattr(module, "frozen"):  # also that of the LSTM
            module.eps = epsilon  # type: ignore[assignment]


def epsilon_of(model: nn.Module) -> float:
    """What the batch normalisation of `model` adds to the variance; that of the first, as all have the same."""
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return float(next((module.eps for module in norms), EPSILON))


def freeze_batch_norm(model: nn.Module) -> None:
    """Statistics and shifts of `model` stay as they are, in training too."""
    for module in model.modules():
        if hasattr(module, "frozen"):  # also that of the LSTM, which is normalised by steps
            module.frozen = True  # type: ignore[assignment]
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            module.eval()


@contextmanager
def statistics_paused(model: nn.Module) -> Iterator[None]:
    """While this is entered, batches normalise by their own statistics and leave the running ones as they are.

    Activation checkpointing needs this: it computes each block a second time.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    kept = [(m.momentum, m.num_batches_tracked.clone()) for m in norms if m.num_batches_tracked is not None]
    for m in norms:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, kept, strict=True):
            m.momentum = momentum
            assert m.num_batches_tracked is not None
            m.num_batches_tracked.copy_(count)


class _Population:
    """Mean and variance of one normalisation over all batches, gathered after each of its calls.

    A norm that keeps statistics by time step (the LSTM's, [steps, features]) is called once a step.
    """

    def __init__(self, norm: Any) -> None:
        self.norm = norm
        self.mean: Tensor = self.norm.running_mean
        self.variance: Tensor = self.norm.running_var
        self.sums = torch.zeros(2, *self.mean.shape, dtype=torch.float64, device=self.mean.device)
        self.calls = torch.zeros(self.mean.shape[:-1], dtype=torch.float64, device=self.mean.device)
        self.momentum = self.norm.momentum
        self.norm.train()
        self.norm.momentum = 1.0
        self._hook = norm.register_forward_hook(self._called)

    def _called(self, norm: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        row = ... if self.mean.ndim == 1 else min(arguments[1], len(self.mean) - 1)
        if self.mean.ndim > 1 and len(arguments[0]) < 2:
            return  # a single value has no variance: the norm has left its statistics as they were
        mean = self.mean[row].double()
        self.sums[(slice(None), row)] += torch.stack([mean, self.variance[row].double() + mean**2])
        self.calls[row] += 1

    def finish(self) -> None:
        """Pools what all processes gathered, and sets the statistics; those that no batch reached stay as they were."""
        self._hook.remove()
        self.norm.momentum = self.momentum
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for tensor in (self.calls, self.sums):
                torch.distributed.all_reduce(tensor)
        reached = self.calls[..., None] > 0
        mean, square = self.sums / self.calls.clamp(min=1)[..., None]
        self.mean.copy_(torch.where(reached, mean, self.mean.double()))
        self.variance.copy_(torch.where(reached, square - mean**2, self.variance.double()))


@torch.no_grad()
def precise_batch_norm(model: nn.Module, inputs: Iterable[tuple[Tensor, ...]]) -> int:
    """Sets running statistics, of every kind of normalisation here, to those of all `inputs` together; returns how many
    batches there were.

    A short run leaves the running averages far behind the weights. Each element is the model's positional arguments.
    The population's variance is mean(variance + mean^2) - mean^2 over equal batches (Wu and Johnson, "Rethinking
    'Batch' in BatchNorm", 2021, section 3). Processes of a torch.distributed group pool their batches.
    """
    was_training = model.training
    model.eval()  # dropout off; only the normalisation sees its batches
    norms = [m for m in model.modules() if hasattr(m, "running_mean") and not getattr(m, "frozen", False)]
    gathered = [_Population(m) for m in norms]
    count = torch.zeros((), dtype=torch.float64, device=gathered[0].mean.device if gathered else None)
    for arguments in inputs:
        model(*arguments)
        count += 1
    for one in gathered:
        one.finish()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
    model.train(was_training)
    return int(count)
