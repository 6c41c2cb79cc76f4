"""How long and how fast each network is trained: the paper's figures and the released code's, and ours where both are
silent. `plan_of` carries a schedule over to the batch that a user's machine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kinetics_pipeline.models.training.recipes import CLIPS_PER_STEP, RECIPES, Stream, training_recipe
from kinetics_pipeline.redaction import counted

Source = Literal["paper", "code", "ours"]
"""Where a figure stands: "Quo Vadis" (arXiv 1705.07750 version 3, sections 2.2 and 2.5), the README of
deepmind/kinetics-i3d, or neither."""
ScheduleName = Literal["paper", "released"]
HOLD_OUT = 0.1
"""Share of the training clips of UCF-101 and HMDB-51 on which the plateau looks: ours."""


@dataclass(frozen=True)
class Figure:
    value: float
    source: Source

    def __str__(self) -> str:
        return f"{self.value:g} ({self.source})"


@dataclass(frozen=True)
class Schedule:
    """What one network is trained with: SGD with momentum 0.9 in all cases (section 2.5)."""

    gpus: Figure
    clips: Figure
    """The clips of each GPU in a step."""
    steps: Figure
    rate: Figure
    """The first learning rate, for the clips of all GPUs together."""
    recipe: ScheduleName
    """How the rate falls: `paper`, to a tenth when validation loss saturates; `released`, at fixed steps."""

    @property
    def clips_a_step(self) -> int:
        return round(self.gpus.value * self.clips.value)


MANY = Figure(64, "paper")
"""3D ConvNets, "which receive a large number of input frames"; 32 for the others (section 2.5)."""
FEW = Figure(32, "paper")
TRANSFER_GPUS = Figure(16, "paper")
KINETICS_STEPS, TRANSFER_STEPS = Figure(110_000, "paper"), Figure(5_000, "paper")
I3D_RATE = Figure(0.1, "code")
GPUS: dict[str, Figure] = {
    "i3d": MANY,
    "c3d": MANY,
    "convnet_lstm": FEW,
    "two_stream": FEW,
    "fused_two_stream": FEW,
}
CLIPS: dict[str, Figure] = {
    "i3d": Figure(6, "code"),
    "c3d": Figure(15, "paper"),  # section 2.2
    # Neither says: as many clips a step as I3D has.
    "convnet_lstm": Figure(12, "ours"),
    "two_stream": Figure(12, "ours"),
    "fused_two_stream": Figure(12, "ours"),
}


def schedule_of(model: str, stream: str, *, transfer: bool, name: ScheduleName = "paper") -> Schedule:
    """The schedule of a network on Kinetics, or transferred to UCF-101 or HMDB-51.

    `released` differs in I3D on Kinetics alone: the code has no other network, and no transfer.
    """
    clips = CLIPS[model]
    if name == "released" and model == "i3d" and not transfer:
        recipe = RECIPES["released", _stream(stream)]
        return Schedule(MANY, clips, Figure(recipe.steps, "code"), I3D_RATE, "released")
    gpus = TRANSFER_GPUS if transfer else GPUS[model]
    steps = TRANSFER_STEPS if transfer else KINETICS_STEPS
    if model == "i3d" and not transfer:
        return Schedule(gpus, clips, steps, I3D_RATE, "paper")
    # Neither says: I3D's rate by the linear rule (Goyal et al., 2017).
    rate = I3D_RATE.value * gpus.value * clips.value / CLIPS_PER_STEP
    return Schedule(gpus, clips, steps, Figure(rate, "ours"), "paper")


@dataclass(frozen=True)
class Plan:
    """A schedule on the machine at hand: what `train` is told."""

    schedule: Schedule
    batch: int
    workers: int
    accumulate: int
    steps: int
    rate: float

    @property
    def clips_a_step(self) -> int:
        return self.batch * self.workers * self.accumulate

    def flags(self) -> dict[str, str]:
        """Flags of `train`, with their values; one without a value has an empty one."""
        return {
            "--recipe": self.schedule.recipe,
            "--batch-size": str(self.batch),
            "--workers": str(self.workers),
            "--accumulate": str(self.accumulate),
            "--steps": str(self.steps),
            "--learning-rate": f"{self.rate:.6g}",
            "--no-scale-learning-rate": "",
        }

    def said(self) -> str:
        """How it follows from the schedule, in words."""
        parts = [f"{self.batch} clips"]
        parts += [f"{self.workers} workers"] if self.workers > 1 else []
        parts += [f"{self.accumulate} accumulated"] if self.accumulate > 1 else []
        here = f"{counted(self.steps, 'step')} of {' x '.join(parts)}"
        if self.clips_a_step == self.schedule.clips_a_step:
            return here
        return f"{here}, {self.clips_a_step} in place of {self.schedule.clips_a_step}, at a rate of {self.rate:.3g}"


def plan_of(schedule: Schedule, flags: Sequence[str], steps: int | None = None) -> Plan:
    """The schedule for the batch size and the processes that the `flags` of `train` ask for.

    With fewer GPUs than the schedule's a step accumulates up to its clips. Where that does not come out even, or the
    flags say how much is accumulated, there are in proportion more steps, and the rate is as much lower (the linear
    rule). `steps`, of the schedule's number of clips, makes it another length; of the flags `--steps` alone is final.
    """
    batch = number_in(flags, "--batch-size") or round(schedule.clips.value)
    workers = number_in(flags, "--workers") or 1
    accumulate = number_in(flags, "--accumulate") or max(1, round(schedule.clips_a_step / (batch * workers)))
    share = batch * workers * accumulate / schedule.clips_a_step
    length = round((steps or schedule.steps.value) / share)
    return Plan(
        schedule, batch, workers, accumulate, number_in(flags, "--steps") or max(1, length), schedule.rate.value * share
    )


def number_in(words: Sequence[str], flag: str) -> int | None:
    """The number that a flag has among the words of a command, the last one if there are several; None without."""
    found = None
    for word, following in zip(words, [*words, ""][1:], strict=True):
        name, equals, value = word.partition("=")
        text = value if equals else following
        if name == flag and text.isdecimal() and int(text):
            found = int(text)
    return found


def rates(plan: Plan, stream: str) -> list[tuple[int, float]]:
    """(step, rate from there on) as far as it is known beforehand: of a plateau the first rate alone."""
    recipe = training_recipe(
        plan.schedule.recipe, _stream(stream), steps=plan.steps, learning_rate=plan.rate, clips_per_step=CLIPS_PER_STEP
    )
    return [(0, recipe.learning_rate), *recipe.changes]


def _stream(stream: str) -> Stream:
    return "flow" if stream == "flow" else "rgb"
