"""The learning rate at each step: fixed changes, or a tenth whenever the validation loss stops falling."""

from __future__ import annotations

import math
from typing import Any, Protocol

from kinetics_pipeline.models.training.recipes import TrainingRecipe


class Schedule(Protocol):
    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step`, from 0."""

    def observe(self, validation_loss: float) -> None:
        """Called after each validation."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class StepSchedule:
    """Changes fixed beforehand."""

    def __init__(self, first: float, changes: tuple[tuple[int, float], ...], warmup_steps: int = 0) -> None:
        self.first, self.changes, self.warmup_steps = first, changes, warmup_steps

    def rate(self, step: int) -> float:
        rate = self.first
        for start, changed in self.changes:
            if step >= start:
                rate = changed
        return rate * _warmup_factor(step, self.warmup_steps)

    def observe(self, validation_loss: float) -> None:
        """Nothing: the changes are fixed."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept."""


class PlateauSchedule:
    """A tenth of the rate after `patience` validations in a row without a loss better than the best by 0.1 %."""

    factor = 0.1
    improvement = 1e-3

    def __init__(self, first: float, warmup_steps: int = 0, patience: int = 5) -> None:
        self.current, self.warmup_steps, self.patience = first, warmup_steps, patience
        self.best, self.waited = math.inf, 0

    def rate(self, step: int) -> float:
        return self.current * _warmup_factor(step, self.warmup_steps)

    def observe(self, validation_loss: float) -> None:
        if validation_loss < self.best * (1 - self.improvement):
            self.best, self.waited = validation_loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.current, self.waited = self.current * self.factor, 0

    def state_dict(self) -> dict[str, Any]:
        return {"current": self.current, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.current, self.best, self.waited = state["current"], state["best"], state["waited"]


def schedule_of(recipe: TrainingRecipe) -> Schedule:
    if recipe.plateau:
        return PlateauSchedule(recipe.learning_rate, recipe.warmup_steps)
    return StepSchedule(recipe.learning_rate, recipe.changes, recipe.warmup_steps)


def _warmup_factor(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
