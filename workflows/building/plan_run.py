"""What one run of the driver is about: the shards of a plan that are not committed yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record


@dataclass(frozen=True)
class FinishedClip:
    """A clip that has its outcome."""

    record: Record
    node: str | None
    """The node whose spool has its rows; None for a clip that failed and so has none."""


@dataclass(frozen=True)
class PlanRun:
    """A plan of a dataset, what of it is missing, and with which lease, recipe and classes it is made."""

    uri: str
    """The dataset's."""
    number: int
    """The plan's."""
    plan: Plan
    missing: Sequence[str]
    """Names of its shards that are not committed."""
    generation: int
    """The lease's."""
    recipe: Recipe
    classes: Sequence[str]
    finished: Mapping[str, FinishedClip] = field(default_factory=dict)
    """The clips that were finished before this run, by clip_id."""

    @property
    def plan_name(self) -> str:
        return plan_name(self.number)

    @cached_property
    def _numbers(self) -> dict[str | None, int]:
        return {None: -1, **{label: number for number, label in enumerate(self.classes)}}

    def label(self, clip: Clip) -> int:
        """A clip's class number; -1 for a clip without a label."""
        return self._numbers[clip.label]
