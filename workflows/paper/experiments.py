"""The experiments of the paper: a network trained on one dataset from one start; its folder, and its commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kinetics_pipeline.errors import UserError

Place = Literal["kinetics", "mini", "ucf", "hmdb"]
Protocol = Literal["original", "fixed", "full"]
Stream = Literal["rgb", "flow", "both"]

SHAPES: dict[str, dict[str, int]] = {
    "i3d": {"frames": 64, "crop": 224},
    "c3d": {"frames": 16, "crop": 112},
    "convnet_lstm": {"frames": 125, "crop": 224},  # 25 frames, one of five
    "two_stream": {"frames": 10, "crop": 224},
    "fused_two_stream": {"frames": 50, "crop": 224},
}
"""What a training snippet is ("Quo Vadis", table 1)."""


@dataclass(frozen=True)
class Resources:
    """What a user has: datasets, ImageNet's weights, a folder for runs, and flags for every training."""

    runs: Path
    datasets: dict[str, str]
    """Place -> dataset; `mini` is the Kinetics dataset with `mini_classes`."""
    imagenet: Path | None = None
    mini_classes: Path | None = None
    flags: tuple[str, ...] = ()
    steps: int | None = None
    transfer_steps: int = 5000


@dataclass(frozen=True)
class Experiment:
    """`original` trains on the dataset alone, `fixed` its last layer on Kinetics' features, `full` all of a network
    that was trained on Kinetics. `imagenet`: whether it all began with 2D weights."""

    place: Place
    model: str
    stream: Stream
    protocol: Protocol = "original"
    imagenet: bool = False
    split: int = 1
    """The number of the split, for UCF-101 and HMDB-51."""
    examples: int | None = None
    """A class, for training; None: all."""

    @property
    def name(self) -> str:
        where = f"{self.place}{self.split}" if self.is_transfer else self.place
        start = "imagenet" if self.imagenet else "scratch"
        few = f"-{self.examples}" if self.examples else ""
        return f"{where}/{self.model}-{self.stream}-{self.protocol}-{start}{few}"

    @property
    def is_transfer(self) -> bool:
        return self.place in ("ucf", "hmdb")

    def splits(self) -> tuple[str, str]:
        """The split that is trained on, and the split that is scored."""
        return (f"train{self.split}", f"test{self.split}") if self.is_transfer else ("train", "val")

    def needs(self) -> Experiment | None:
        """The experiment whose weights this one starts from."""
        if self.protocol == "original":
            return None
        return replace(self, place="kinetics", protocol="original", split=1)

    def missing(self, resources: Resources) -> str | None:
        """The flag without which it cannot run; None when all is there."""
        needed = self.needs()
        if needed is not None and (lacking := needed.missing(resources)):
            return lacking
        if self.place not in resources.datasets:
            return "--kinetics" if self.place == "mini" else f"--{self.place}"
        if self.place == "mini" and resources.mini_classes is None:
            return "--mini-classes"
        return "--imagenet" if self.imagenet and self.protocol == "original" and resources.imagenet is None else None

    def run(self, resources: Resources) -> Path:
        return resources.runs / self.name

    def is_trained(self, resources: Resources) -> bool:
        """Whether its run is finished, with as many steps as are asked now."""
        results = self.run(resources) / "results.json"
        if not results.is_file():
            return False
        steps = self._steps(resources)
        return steps is None or int(read_json(results)["steps"]) >= steps

    def training(self, resources: Resources) -> list[str]:
        """The words of its `train` command; what the user says of every training comes last, and wins."""
        train, val = self.splits()
        words = ["train", resources.datasets[self.place], "--model", self.model, "--run", str(self.run(resources))]
        words += ["--stream", self.stream] if self.stream != "both" else []
        words += ["--train-split", train, "--val-split", val]
        for flag, value in SHAPES[self.model].items():
            if f"--{flag}" not in resources.flags:
                words += [f"--{flag}", str(value)]
        if (needed := self.needs()) is not None:
            words += ["--init", str(needed.run(resources))]
            words += ["--freeze-features"] if self.protocol == "fixed" else []
        elif self.imagenet:
            words += ["--init", str(resources.imagenet)]
        if self.place == "mini":
            words += ["--class-list", str(resources.mini_classes)]
        if self.examples is not None:
            words += ["--examples-per-class", str(self.examples)]
        if (steps := self._steps(resources)) is not None:
            words += ["--steps", str(steps)]
        return [*words, *resources.flags]

    def _steps(self, resources: Resources) -> int | None:
        return resources.transfer_steps if self.is_transfer else resources.steps


@dataclass(frozen=True)
class Score:
    """Top-1 and top-5 of one network, or of two streams fused."""

    experiments: tuple[Experiment, ...]

    @property
    def name(self) -> str:
        first = self.experiments[0].name
        return first if len(self.experiments) == 1 else first.replace("-rgb-", "-rgb+flow-")

    def file(self, resources: Resources) -> Path:
        return resources.runs / f"{self.name}.json"

    def evaluation(self, resources: Resources) -> list[str]:
        """The words of its `evaluate` command."""
        first = self.experiments[0]
        words = ["evaluate", resources.datasets[first.place], "--split", first.splits()[1]]
        for one in self.experiments:
            words += [f"--{one.stream}", str(one.run(resources))]
        return [*words, "--output", str(self.file(resources))]

    def missing(self, resources: Resources) -> str | None:
        return next((flag for one in self.experiments if (flag := one.missing(resources))), None)

    def measured(self, resources: Resources) -> dict[str, Any] | None:
        """The results of a finished evaluation; None when there is none."""
        return read_json(self.file(resources)) if self.file(resources).is_file() else None

    def accuracy(self, resources: Resources, top: Literal["top1", "top5"] = "top1") -> float | None:
        """The accuracy in percent; None when nothing was measured."""
        results = self.measured(resources)
        if results is None:
            return None
        key = "fused" if len(self.experiments) == 2 else self.experiments[0].stream
        return 100 * float(results["scores"][key][top])


def in_training_order(scores: list[Score]) -> Iterator[Experiment]:
    """Gives every experiment that the scores need, once, each after the one it starts from."""
    seen: set[Experiment] = set()

    def with_needs(one: Experiment) -> Iterator[Experiment]:
        if (needed := one.needs()) is not None:
            yield from with_needs(needed)
        if one not in seen:
            seen.add(one)
            yield one

    for score in scores:
        for experiment in score.experiments:
            yield from with_needs(experiment)


def read_json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("no object")
        return document
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged; delete it, and it is made again") from error
