"""What one training process is given of a machine or a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.flags.values import MOST_A_CORE

PASSIVE_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other by spinning take the cores from the loaders and from whoever else is on the machine:
with ten other processes on two cores a step of 12 s became one of 2 s."""


@dataclass(frozen=True)
class Share:
    """What one worker is given."""

    cpus: float
    gpus: int

    @property
    def threads(self) -> int:
        """How many threads torch uses: OMP_NUM_THREADS where the user sets it, else one a core."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return int(asked) if asked.isdigit() and int(asked) else max(1, int(self.cpus))

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


def share(workers: int, loaders: int, device: str, nodes: list[dict[str, float]]) -> Share:
    """The share of each of `workers` on `nodes` (each node's resources): a GPU where there are GPUs.

    On GPUs a worker takes a core, and one for each of its loading processes; on CPUs as many as there are for all of
    them, for that is what it computes on. Raises UserError when a GPU was asked for and there are not enough, and for
    more processes than the cores can feed.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    use_gpus = device == "gpu" or (device == "auto" and gpus > 0)
    if use_gpus and gpus < workers:
        raise UserError(f"--workers is {workers}, one GPU each; there are {gpus} (--device cpu trains without)")
    cores = [node["CPU"] for node in nodes if node.get("CPU", 0) > 0]
    if (processes := workers * (1 + loaders)) > (most := int(MOST_A_CORE * sum(cores))):
        raise UserError(
            f"--workers is {workers} with --loaders {loaders} each, {counted(processes, 'process')}; "
            f"allowed on {sum(cores):g} CPUs: {most} or fewer"
        )
    wanted = [float(1 + loaders)] if use_gpus else []
    for cpus in sorted({*wanted, *(core / k for core in cores for k in range(1, workers + 1))}, reverse=True):
        if wanted and cpus > wanted[0]:
            continue
        fits = sum(
            min(int(node.get("CPU", 0) / cpus + 1e-6), int(node.get("GPU", 0)) if use_gpus else workers)
            for node in nodes
        )
        if fits >= workers:
            return Share(float(int(cpus)) if cpus >= 1 else cpus, int(use_gpus))
    raise UserError(f"--workers is {workers}; the cluster has {sum(cores):g} CPUs and {gpus} GPUs for them")


def this_machine() -> dict[str, float]:
    """The resources of this machine, called as Ray calls those of a node."""
    import torch  # here: who trains on a cluster need not ask for the GPUs of this machine

    return {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
