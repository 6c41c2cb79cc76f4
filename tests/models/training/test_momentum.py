"""SGD with momentum, against torch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from kinetics_pipeline.models.training.momentum import Momentum


def parameters() -> list[Tensor]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (5,), (2, 2), (3,))]


def groups(tensors: list[Tensor]) -> list[dict[str, object]]:
    return [{"params": tensors[:1] + tensors[2:3], "weight_decay": 0.01}, {"params": [tensors[1], tensors[3]]}]


def optimisers(ours: list[Tensor], theirs: list[Tensor]) -> tuple[Momentum, torch.optim.SGD]:
    return (
        Momentum([{"weight_decay": 0.0, **group} for group in groups(ours)], lr=0.1, momentum=0.9),
        torch.optim.SGD(groups(theirs), lr=0.1, momentum=0.9),
    )


def train(optimiser: Momentum | torch.optim.SGD, tensors: list[Tensor], steps: int) -> None:
    """The last parameter has no gradient at first, as one that a step does not use."""
    chance = torch.Generator().manual_seed(steps)
    for step in range(steps):
        optimiser.zero_grad()
        assert all(tensor.grad is None for tensor in tensors)
        for group in optimiser.param_groups:
            group["lr"] = 0.1 / (1 + step)
        for tensor in tensors[: 3 if step < 2 else 4]:
            tensor.grad = torch.randn(tensor.shape, generator=chance)
        optimiser.step()


def test_it_does_what_torch_does_to_the_last_bit_and_each_goes_on_from_the_other_s_state() -> None:
    ours, theirs = parameters(), parameters()
    mine, torchs = optimisers(ours, theirs)
    for optimiser, tensors in ((mine, ours), (torchs, theirs)):
        train(optimiser, tensors, 4)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    mine_after, torchs_after = optimisers(ours, theirs)
    mine_after.load_state_dict(torchs.state_dict())
    torchs_after.load_state_dict(mine.state_dict())
    for optimiser, tensors in ((mine_after, ours), (torchs_after, theirs)):
        train(optimiser, tensors, 3)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_state_of_other_groups_is_refused() -> None:
    mine = Momentum([{"params": parameters(), "weight_decay": 0.0}], lr=0.1, momentum=0.9)
    other = Momentum([{"params": parameters()[:2], "weight_decay": 0.0}], lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"groups of \[4\] parameters, the saved one of \[2\]"):
        mine.load_state_dict(other.state_dict())


def test_a_step_loads_no_compiler() -> None:
    code = (
        "import sys, torch; from kinetics_pipeline.models.training.momentum import Momentum\n"
        "one = torch.nn.Parameter(torch.ones(2)); one.grad = torch.ones(2)\n"
        "Momentum([{'params': [one], 'weight_decay': 0.0}], lr=0.1, momentum=0.9).step()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
