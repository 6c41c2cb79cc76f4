"""Experiments that are trained alike: by one schedule, on the machine at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kinetics_pipeline.models.training.recipes import evaluation_spacing, patience_of, training_recipe
from kinetics_pipeline.workflows.paper.experiments import Experiment, Resources, Score, in_training_order
from kinetics_pipeline.workflows.paper.schedules import Plan, rates
from kinetics_pipeline.workflows.paper.tables import ROWS


@dataclass(frozen=True)
class Group:
    """Experiments that are trained alike."""

    where: str
    model: str
    stream: str
    plan: Plan
    experiments: tuple[Experiment, ...]

    @property
    def title(self) -> str:
        stream = f" {self.stream}" if self.model == "i3d" else ""
        return f"{self.where}: {ROWS[self.model]}{stream}"

    @property
    def spacing(self) -> int:
        """Steps between evaluations."""
        recipe = training_recipe(self.plan.schedule.recipe, "rgb", steps=self.plan.steps)
        return evaluation_spacing(recipe)

    @property
    def evaluations(self) -> int:
        return -(-self.plan.steps // self.spacing)

    @property
    def falls(self) -> str:
        """When the rate falls, in words."""
        if self.plan.schedule.recipe == "paper":
            return f"plateau of {patience_of(self.evaluations)} x {self.spacing} steps"
        return ", ".join(f"{rate:.3g} at {step}" for step, rate in rates(self.plan, self.stream)[1:])


def groups_of(scores: Sequence[Score], resources: Resources) -> list[Group]:
    """All experiments that the scores need, those that are trained alike together; Kinetics first."""
    alike: dict[tuple[str, str, str, Plan], list[Experiment]] = defaultdict(list)
    for one in in_training_order(list(scores)):
        where = "UCF-101, HMDB-51" if one.is_transfer else "Kinetics"
        alike[where, one.model, one.stream, one.plan(resources)].append(one)
    groups = [Group(*key, tuple(experiments)) for key, experiments in alike.items()]
    return sorted(groups, key=lambda group: (group.where, list(ROWS).index(group.model), group.stream != "rgb"))
