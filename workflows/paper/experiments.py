"""The experiments of the paper: a network trained on one dataset from one start; its folder, and its commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.paper.schedules import HOLD_OUT, Plan, ScheduleName, plan_of, schedule_of
from kinetics_pipeline.workflows.training.run_folder import RunFolder

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
    schedules: ScheduleName = "paper"
    steps: int | None = None
    transfer_steps: int | None = None
    tested: frozenset[str] = frozenset()
    """The places of Kinetics whose test split is labelled, and therefore scored."""


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

    def scored_on(self, resources: Resources) -> str:
        """The split that is scored: that of validation only where there is no labelled other one."""
        if self.is_transfer:
            return f"test{self.split}"
        return "test" if self.place in resources.tested else "val"

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

    def weights(self, resources: Resources) -> Path:
        """The last checkpoint: the best one was chosen on the split that it was best on."""
        return RunFolder(self.run(resources)).last

    def plan(self, resources: Resources) -> Plan:
        """How it is trained on the machine at hand."""
        schedule = schedule_of(self.model, self.stream, transfer=self.is_transfer, name=resources.schedules)
        return plan_of(schedule, resources.flags, resources.transfer_steps if self.is_transfer else resources.steps)

    def is_trained(self, resources: Resources) -> bool:
        """Whether its run is finished, with as many steps as are asked now."""
        results = self.run(resources) / "results.json"
        if not results.is_file():
            return False
        return int(read_json(results)["steps"]) >= self.plan(resources).steps

    def training(self, resources: Resources) -> list[str]:
        """The words of its `train` command. What the user says of every training wins."""
        flags = {"--model": self.model, "--run": str(self.run(resources))}
        if self.stream != "both":
            flags["--stream"] = self.stream
        if self.is_transfer:  # whose only other split is scored in the end
            flags |= {"--train-split": f"train{self.split}", "--hold-out": str(HOLD_OUT)}
        else:
            flags |= {"--train-split": "train", "--val-split": "val"}
        flags |= {f"--{flag}": str(value) for flag, value in SHAPES[self.model].items()}
        if (needed := self.needs()) is not None:
            flags["--init"] = str(needed.weights(resources))
            if self.protocol == "fixed":
                flags["--freeze-features"] = ""
        elif self.imagenet:
            flags["--init"] = str(resources.imagenet)
        if self.place == "mini":
            flags["--class-list"] = str(resources.mini_classes)
        if self.examples is not None:
            flags["--examples-per-class"] = str(self.examples)
        flags |= self.plan(resources).flags()
        given = {word.partition("=")[0] for word in resources.flags}
        words = [[flag, value] if value else [flag] for flag, value in flags.items() if flag not in given]
        return ["train", resources.datasets[self.place], *(word for some in words for word in some), *resources.flags]


@dataclass(frozen=True)
class Score:
    """Accuracies of one network, of two streams fused, or of one head of a network that has two."""

    experiments: tuple[Experiment, ...]
    head: Literal["rgb", "flow"] | None = None

    @property
    def name(self) -> str:
        first = self.experiments[0].name
        return first if len(self.experiments) == 1 else first.replace("-rgb-", "-rgb+flow-")

    def file(self, resources: Resources) -> Path:
        return resources.runs / f"{self.name}.json"

    def evaluation(self, resources: Resources) -> list[str]:
        """The words of its `evaluate` command."""
        first = self.experiments[0]
        words = ["evaluate", resources.datasets[first.place], "--split", first.scored_on(resources)]
        for one in self.experiments:
            words += [f"--{one.stream}", str(one.weights(resources))]
        return [*words, "--output", str(self.file(resources))]

    def missing(self, resources: Resources) -> str | None:
        return next((flag for one in self.experiments if (flag := one.missing(resources))), None)

    def measured(self, resources: Resources) -> dict[str, Any] | None:
        """The results of a finished evaluation; None when there is none, and where it was of other weights, another
        split or without this head, as by earlier versions."""
        if not self.file(resources).is_file():
            return None
        results = read_json(self.file(resources))
        names = {Path(one["path"]).name for one in results["checkpoints"].values()}
        split = results["config"]["split"]
        current = split == self.experiments[0].scored_on(resources) and self._key in results["scores"]
        return results if current and names == {one.weights(resources).name for one in self.experiments} else None

    @property
    def _key(self) -> str:
        return self.head or ("fused" if len(self.experiments) == 2 else self.experiments[0].stream)

    def accuracy(self, resources: Resources, top: Literal["top1", "top5"] = "top1") -> float | None:
        """The accuracy in percent; None when nothing was measured."""
        results = self.measured(resources)
        return None if results is None else 100 * float(results["scores"][self._key][top])


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
