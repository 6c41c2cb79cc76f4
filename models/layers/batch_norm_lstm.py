"""LSTM with batch normalisation of both transforms and of the cell (Cooijmans et al., ICLR 2017, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetics_pipeline.models.layers.batch_norm import EPSILON, MOMENTUM

FIRST_SCALE = 0.1
"""The scale of the normalised values at first: small enough that the tanh does not saturate (section 4 there)."""


class StepwiseBatchNorm(nn.Module):
    """Normalises [N, features] by the statistics of one time step, kept apart for each; scale and shift are shared.

    A step later than any trained on takes the statistics of the last one that was (section 3 there).
    """

    running_mean: Tensor
    running_var: Tensor
    steps_trained: Tensor

    def __init__(self, features: int, steps: int, momentum: float, shift: bool = True) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, EPSILON
        self.frozen = False
        self.scale = nn.Parameter(torch.full((features,), FIRST_SCALE))
        self.shift = nn.Parameter(torch.zeros(features)) if shift else None
        self.register_buffer("running_mean", torch.zeros(steps, features))
        self.register_buffer("running_var", torch.ones(steps, features))
        self.register_buffer("steps_trained", torch.ones((), dtype=torch.long))

    def train(self, mode: bool = True) -> StepwiseBatchNorm:
        """Sets the mode as any module does, but a frozen one stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor, step: int) -> Tensor:
        steps = len(self.running_mean)
        if self.training:
            row = min(step, steps - 1)
            # A batch of one has no variance; there the running statistics have to do.
            own = len(x) > 1
            if own:
                self.steps_trained.clamp_(min=row + 1)
        else:
            row, own = min(step, int(self.steps_trained) - 1), False
        mean, variance = self.running_mean[row], self.running_var[row]
        return F.batch_norm(x, mean, variance, self.scale, self.shift, own, self.momentum, self.eps)


class BatchNormLSTM(nn.Module):
    """[N, T, features] -> hidden states [N, T, size]."""

    def __init__(self, features: int, size: int, steps: int, momentum: float = MOMENTUM) -> None:
        """`steps`: how many time steps have statistics of their own."""
        super().__init__()
        self.size = size
        self.input = nn.Linear(features, 4 * size, bias=False)
        self.recurrent = nn.Linear(size, 4 * size, bias=False)
        self.bias = nn.Parameter(torch.zeros(4 * size))
        # The two transforms are added, so one bias serves both.
        self.bn_input = StepwiseBatchNorm(4 * size, steps, momentum, shift=False)
        self.bn_recurrent = StepwiseBatchNorm(4 * size, steps, momentum, shift=False)
        self.bn_cell = StepwiseBatchNorm(size, steps, momentum)
        nn.init.orthogonal_(self.input.weight)
        with torch.no_grad():  # the state starts by being passed on (section 4 there)
            self.recurrent.weight.copy_(torch.eye(size).repeat(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = x.new_zeros(len(x), self.size)
        states = []
        for step in range(x.shape[1]):
            gates = self.bn_input(self.input(x[:, step]), step) + self.bn_recurrent(self.recurrent(hidden), step)
            forget, enter, leave, candidate = (gates + self.bias).chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
            hidden = torch.sigmoid(leave) * torch.tanh(self.bn_cell(cell, step))
            states.append(hidden)
        return torch.stack(states, dim=1)
