"""What the paper and the released code trained with, and how that carries over to other batch sizes.

The rule: a recipe's learning rate and number of steps belong to 64 replicas of 6 clips. A step here takes
batch size x accumulation x processes clips; the learning rate is multiplied, and the number of steps divided, by
that over 384 (Goyal et al., "Accurate, Large Minibatch SGD", 2017: the linear rule, which keeps the clips seen).
Accumulated gradients do not enlarge the batch that batch normalisation sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kinetics_pipeline.models.errors import InputError

Stream = Literal["rgb", "flow"]
RecipeName = Literal["paper", "released"]

CLIPS_PER_STEP = 64 * 6


@dataclass(frozen=True)
class TrainingRecipe:
    """SGD with momentum; every number in steps is in optimiser steps."""

    name: str
    steps: int
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-7
    dropout: float = 0.5
    changes: tuple[tuple[int, float], ...] = ()
    """(step, learning rate from there on), for a schedule known beforehand."""
    plateau: bool = False
    """Divide the learning rate by ten when the validation loss no longer falls."""
    patience: int = 5
    """How many evaluations in a row without progress make a plateau."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises in a straight line to its first value."""


EVALUATIONS = 40
"""The most evaluations of a run whose rate falls at a plateau; a run of fewer steps is evaluated after each."""
SELDOM = 2000
"""Steps between evaluations where nothing depends on them."""
RECIPES: dict[tuple[RecipeName, Stream], TrainingRecipe] = {
    # kinetics-i3d, README.md.
    ("released", "rgb"): TrainingRecipe("released", 115_000, changes=((97_000, 0.01), (108_000, 0.001))),
    # The authors trained flow for 115k steps as RGB, then found that it needed more and began a second run from there:
    # 0.1 to 97k, 0.01 to 104.5k, 0.001 to 115k, 0.1 to 140k, 0.01 to 150k, 0.001 to 155k. One run has as many steps at
    # each rate, in falling order: no schedule here raises its rate after it fell.
    ("released", "flow"): TrainingRecipe("released", 155_000, changes=((122_000, 0.01), (139_500, 0.001))),
    # "Quo Vadis", section 2.5.
    ("paper", "rgb"): TrainingRecipe("paper", 110_000, plateau=True),
    ("paper", "flow"): TrainingRecipe("paper", 110_000, plateau=True),
}


def training_recipe(
    name: RecipeName,
    stream: Stream,
    *,
    clips_per_step: int = CLIPS_PER_STEP,
    steps: int | None = None,
    learning_rate: float | None = None,
    warmup_steps: int = 0,
) -> TrainingRecipe:
    """A preset carried over to `clips_per_step` = batch size x accumulation x processes, by the module's rule.

    `steps` sets another length and moves the changes of the learning rate in proportion; `learning_rate` sets the
    first rate outright, and the later ones in proportion.
    """
    if (name, stream) not in RECIPES:
        names, streams = ({str(key[i]) for key in RECIPES} for i in (0, 1))
        raise InputError(
            f"no recipe {name!r} for stream {stream!r}; allowed: {', '.join(sorted(names))} for "
            f"{', '.join(sorted(streams))}"
        )
    for what, number, least in (("clips a step", clips_per_step, 1), ("steps", steps, 1), ("warm-up", warmup_steps, 0)):
        if number is not None and number < least:
            raise InputError(f"{what} is {number}; allowed: from {least}")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise InputError(f"learning rate is {learning_rate}; allowed: above 0")
    recipe = RECIPES[name, stream]
    length = steps if steps is not None else max(1, round(recipe.steps * CLIPS_PER_STEP / clips_per_step))
    first = learning_rate if learning_rate is not None else recipe.learning_rate * (clips_per_step / CLIPS_PER_STEP)
    return replace(
        recipe,
        steps=length,
        learning_rate=first,
        changes=tuple(
            (round(step * length / recipe.steps), rate * (first / recipe.learning_rate))
            for step, rate in recipe.changes
        ),
        warmup_steps=warmup_steps,
    )


def evaluation_spacing(recipe: TrainingRecipe) -> int:
    """Steps between two evaluations: of a recipe with a plateau at most `EVALUATIONS` in all, evenly, so that its rate
    can fall whatever its length."""
    return -(-recipe.steps // EVALUATIONS) if recipe.plateau else SELDOM


def patience_of(evaluations: int) -> int:
    """How many evaluations without progress make a plateau, in a run of so many: an eighth of them, at least one."""
    return max(1, evaluations // 8)


def explain_batch(recipe: TrainingRecipe, batch_size: int, accumulation: int, processes: int) -> str:
    """Says in a line, for logs, how the recipe's numbers follow from the batch."""
    clips = batch_size * accumulation * processes
    share = clips / CLIPS_PER_STEP
    return (
        f"recipe {recipe.name}: clips a step: {batch_size} x {accumulation} (accumulated) x {processes} (processes) = "
        f"{clips}, {share:.3g} of the recipe's {CLIPS_PER_STEP}; learning rate {recipe.learning_rate:.3g}; "
        f"steps: {recipe.steps}, clips in all: {recipe.steps * clips}"
    )
