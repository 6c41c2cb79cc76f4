"""The learning rate at each step: fixed changes, or a tenth whenever the validation loss stops falling.

After the rate fell it never rises again: not through a warm-up that is longer, and not in a run that goes on with more
steps than it was begun with.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from kinetics_pipeline.models.training.recipes import TrainingRecipe


class Schedule(Protocol):
    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step`, from 0."""

    def observe(self, validation_loss: float) -> None:
        """Called after each validation."""

    def state_dict(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps after `step` steps."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class StepSchedule:
    """Changes fixed beforehand."""

    def __init__(self, first: float, changes: tuple[tuple[int, float], ...], warmup_steps: int = 0) -> None:
        self.first, self.changes, self.warmup_steps = first, changes, warmup_steps
        self.most = math.inf
        """The rate that the steps already done have come down to; more steps move the changes, and do not undo them."""

    def rate(self, step: int) -> float:
        planned = self.first
        for start, changed in self.changes:
            if step >= start:
                planned = changed
        return min(_warming(self.first, step, self.warmup_steps), planned, self.most)

    def observe(self, validation_loss: float) -> None:
        """Nothing: the changes are fixed."""

    def state_dict(self, step: int) -> dict[str, Any]:
        return {"most": self._fallen_to(step)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.most = state.get("most", math.inf)  # earlier versions did not keep it

    def _fallen_to(self, step: int) -> float:
        """The rate of the last step done, of `step` steps, if there was a change before it."""
        changed = [rate for start, rate in self.changes if step > start]
        return min([self.most, *changed])


class PlateauSchedule:
    """A tenth of the rate after `patience` validations in a row without a loss better than the best by 0.1 %."""

    factor = 0.1
    improvement = 1e-3

    def __init__(self, first: float, warmup_steps: int = 0, patience: int = 5) -> None:
        self.first, self.warmup_steps, self.patience = first, warmup_steps, patience
        self.current, self.best, self.waited = first, math.inf, 0

    def rate(self, step: int) -> float:
        return min(_warming(self.first, step, self.warmup_steps), self.current)

    def observe(self, validation_loss: float) -> None:
        if validation_loss < self.best * (1 - self.improvement):
            self.best, self.waited = validation_loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.current, self.waited = self.current * self.factor, 0

    def state_dict(self, step: int) -> dict[str, Any]:
        return {"current": self.current, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.current, self.best, self.waited = state["current"], state["best"], state["waited"]


def schedule_of(recipe: TrainingRecipe) -> Schedule:
    if recipe.plateau:
        return PlateauSchedule(recipe.learning_rate, recipe.warmup_steps, recipe.patience)
    return StepSchedule(recipe.learning_rate, recipe.changes, recipe.warmup_steps)


def _warming(first: float, step: int, warmup_steps: int) -> float:
    return first * min(1.0, (step + 1) / warmup_steps) if warmup_steps else first
