"""How long each stage of a build takes on so many machines, and what sets the pace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kinetics_pipeline.recipe import Recipe, uses_gpu
from kinetics_pipeline.workflows.building.forecast.timing import StageTimes

START = 10.0
"""Seconds until the first clips of a build are worked on: Ray and its workers start."""


@dataclass(frozen=True)
class Machines:
    """What a build runs on."""

    nodes: int
    cores: int
    """Cores of each node."""
    gpus: int
    """GPUs of each node."""
    measured: bool
    """Whether it is this machine, where clips were timed; else every core counts as one of this machine's."""

    @property
    def all_cores(self) -> int:
        return self.nodes * self.cores

    @property
    def all_gpus(self) -> int:
        return self.nodes * self.gpus


@dataclass(frozen=True)
class Forecast:
    """Seconds that each stage takes of a build's time, were it alone."""

    fetch: float
    decode: float
    flow: float
    encode: float
    flow_on_gpus: bool

    @property
    def work(self) -> float:
        """Seconds until all clips are processed: cores share stages, GPUs work beside them."""
        on_cores = self.decode + self.encode
        return max(on_cores, self.flow) if self.flow_on_gpus else on_cores + self.flow

    @property
    def total(self) -> float:
        """Fetching goes on beside processing."""
        return START + max(self.fetch, self.work)

    @property
    def limit(self) -> str:
        """The stage that sets the pace."""
        if self.fetch >= self.work:
            return "fetching"
        stages = {"decoding": self.decode, "flow": self.flow, "encoding": self.encode}
        return max(stages, key=stages.__getitem__)


def machines(nodes: int | None, cores: int | None, gpus: int | None, here_gpus: int) -> Machines:
    """The machines that the flags name; what they leave out is as here. `here_gpus`: the GPUs of this machine."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = Machines(nodes or 1, cores or here, here_gpus if gpus is None else gpus, measured=True)
    same = (asked.nodes, asked.cores, asked.gpus) == (1, here, here_gpus)
    return asked if same else Machines(asked.nodes, asked.cores, asked.gpus, measured=False)


def forecast(frames: float, times: StageTimes, recipe: Recipe, on: Machines, fetch: float) -> Forecast:
    """`frames`: of all clips. `fetch`: seconds that the network takes for what it is asked."""
    on_gpus = uses_gpu(recipe) and on.all_gpus > 0
    return Forecast(
        fetch=fetch,
        decode=frames * times.decode / on.all_cores,
        flow=frames * times.flow / (on.all_gpus if on_gpus else on.all_cores),
        encode=frames * times.encode / on.all_cores,
        flow_on_gpus=on_gpus,
    )
