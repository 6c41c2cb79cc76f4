"""All that a training run must keep to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kinetics_pipeline.models.precision import FP32, Precision
from kinetics_pipeline.models.training.momentum import Momentum
from kinetics_pipeline.models.training.recipes import TrainingRecipe
from kinetics_pipeline.models.training.schedules import Schedule, schedule_of


@dataclass
class TrainingState:
    """`network` is what is called, perhaps `model` wrapped by DistributedDataParallel or torch.compile."""

    model: nn.Module
    network: nn.Module
    optimiser: Momentum
    schedule: Schedule
    recipe: TrainingRecipe
    precision: Precision
    step: int = 0
    """Optimiser steps done."""
    last_checkpoint: str | None = None
    """The file to which this state was last saved; it is named when training diverges."""

    @property
    def finished(self) -> bool:
        return self.step >= self.recipe.steps


def start_training(
    model: nn.Module, recipe: TrainingRecipe, precision: Precision = FP32, network: nn.Module | None = None
) -> TrainingState:
    """State before the first step of `model`, already on its device.

    `network` is its wrapper, where it has one. Call `precision.prepare` before wrapping in DistributedDataParallel,
    which lays out its buckets by the weights' memory order.
    """
    precision.prepare(model)
    return TrainingState(
        model=model,
        network=network if network is not None else model,
        optimiser=optimiser_of(model, recipe),
        schedule=schedule_of(recipe),
        recipe=recipe,
        precision=precision,
    )


def optimiser_of(model: nn.Module, recipe: TrainingRecipe) -> Momentum:
    """SGD over what is trainable; weights decay, biases and shifts do not (as Sonnet's regularizers had it)."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return Momentum([g for g in groups if g["params"]], lr=recipe.learning_rate, momentum=recipe.momentum)


def state_to_save(state: TrainingState) -> dict[str, Any]:
    """Everything but the weights, as tensors and plain data."""
    return {
        "step": state.step,
        "optimiser": state.optimiser.state_dict(),
        "schedule": state.schedule.state_dict(state.step),
        "precision": state.precision.to_json(),
        "random": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        },
    }


def restore_state(state: TrainingState, saved: dict[str, Any]) -> None:
    """The reverse of `state_to_save`; the weights are loaded already. Random numbers go on where they were."""
    state.step = saved["step"]
    state.optimiser.load_state_dict(saved["optimiser"])
    state.schedule.load_state_dict(saved["schedule"])
    state.precision = Precision(**saved["precision"])
    state.precision.prepare(state.model)
    torch.set_rng_state(saved["random"]["cpu"].cpu())
    if saved["random"]["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["random"]["cuda"].cpu())
