"""SGD with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

_USUAL = {
    "dampening": 0.0,
    "nesterov": False,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
}
"""What a group of `torch.optim.SGD` holds besides, as it is by default."""


class Momentum:
    """Does what `torch.optim.SGD` does, by the same function, and has the same state: each loads the other's.

    The class itself is not used, because making one imports torch's compiler: 2 s of a processor at every start.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float) -> None:
        """`groups`: {"params": tensors, "weight_decay": float} each."""
        self.param_groups = [{"lr": lr, "momentum": momentum, **_USUAL, **group} for group in groups]
        self._velocity: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Changes every parameter that has a gradient."""
        for group in self.param_groups:
            changed = [tensor for tensor in group["params"] if tensor.grad is not None]
            velocities = [self._velocity.get(tensor) for tensor in changed]
            sgd(
                changed,
                [tensor.grad for tensor in changed],
                velocities,
                has_sparse_grad=False,
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            self._velocity |= {t: one for t, one in zip(changed, velocities, strict=True) if one is not None}

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Parameters are counted through all groups, as `torch.optim.SGD` does."""
        tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        number = {tensor: place for place, tensor in enumerate(tensors)}
        groups = [{**group, "params": [number[tensor] for tensor in group["params"]]} for group in self.param_groups]
        state = {number[tensor]: {"momentum_buffer": velocity} for tensor, velocity in self._velocity.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Raises ValueError where the groups have other numbers of parameters."""
        sizes = [[len(group["params"]) for group in groups] for groups in (self.param_groups, saved["param_groups"])]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the optimiser has groups of {sizes[0]} parameters, the saved one of {sizes[1]}")
        tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        numbers = [number for group in saved["param_groups"] for number in group["params"]]
        for group, other in zip(self.param_groups, saved["param_groups"], strict=True):
            group |= {name: other[name] for name in ("lr", "momentum", "weight_decay")}
        self._velocity = {}
        for tensor, number in zip(tensors, numbers, strict=True):
            velocity = saved["state"].get(number, {}).get("momentum_buffer")
            if velocity is not None:
                self._velocity[tensor] = velocity.to(device=tensor.device, dtype=tensor.dtype, copy=True)
