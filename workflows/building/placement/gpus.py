"""An actor on each GPU, which processes several clips at a time.

Each computes a pair before it is given clips. One whose GPU cannot do it keeps it, without work, so that no other is
put there. Where an autoscaler could bring GPUs and all that are there are busy, as many again are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import ray

from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.executor import Lost, Ref
from kinetics_pipeline.workflows.building.nodes import LOST_WORK, this_node
from kinetics_pipeline.workflows.building.placement.autoscaler import autoscaler, lack
from kinetics_pipeline.workflows.building.placement.probe import Probed, trouble_with
from kinetics_pipeline.workflows.building.process import ClipJob, Processed, process
from kinetics_pipeline.workflows.building.resources import CORE, GPU_THREADS, TABLE


@ray.remote
class _GpuProcessor:
    """Processes on a GPU: several clips at a time, so that decoding and encoding hide behind the flow.

    With a few threads; the kernels of different threads share the device. The pool replaces one that dies: Ray would
    restart it only where it finds another GPU, and let its clips wait until then.
    """

    def ready(self) -> Probed:
        return Probed(this_node(), trouble_with("cuda"))

    def process(self, folders: CacheFolders, job: ClipJob) -> Processed | Lost:
        return process(folders, job)


@dataclass(eq=False)
class Gpu:
    """An actor that has one GPU, or waits for one."""

    actor: Any
    ready: Any
    """Its first answer, on its way."""
    since: float
    """When it was asked for (monotonic)."""
    is_ready: bool = False
    held: int = 0
    """Jobs that it was given and that have not come back."""


class GpuPool:
    """The actors of one build."""

    def __init__(self, folders: CacheFolders, say: Callable[[str], None], *, grows: bool) -> None:
        """`grows`: whether there is an autoscaler."""
        self._folders, self._say, self._grows = folders, say, grows
        self._gpus: list[Gpu] = []
        self._useless: list[Gpu] = []
        self._held_by: dict[Ref, Gpu] = {}
        self._cores = GPU_THREADS

    def places(self) -> int:
        """Clips that the GPUs which are ready can work on; has as many actors as there are GPUs."""
        self._look()
        ready = [gpu for gpu in self._gpus if gpu.is_ready]
        there = int(ray.cluster_resources().get("GPU", 0)) - len(self._useless)
        if self._grows and ready and all(gpu.held >= GPU_THREADS for gpu in ready):
            there = max(there, 2 * len(ready))
        wanted = max(1, there)
        # One may have been asked for before its node was known to be gone, and would wait for ever.
        for gpu in [gpu for gpu in self._gpus if not gpu.is_ready][: max(0, len(self._gpus) - wanted)]:
            self._gpus.remove(gpu)
            ray.kill(gpu.actor)
        while len(self._gpus) < wanted:
            self._cores = cores_beside_a_gpu(self._cores)
            options = TABLE["clip_on_gpu"].options(num_cpus=self._cores * CORE, max_concurrency=GPU_THREADS)
            actor = _GpuProcessor.options(**options).remote()  # type: ignore[attr-defined]
            self._gpus.append(Gpu(actor, actor.ready.remote(), time.monotonic()))
        return len(ready) * GPU_THREADS

    def lacks(self) -> str:
        """What clips wait for while no GPU is ready."""
        growing = autoscaler() if self._grows else None
        since = min((gpu.since for gpu in self._gpus if not gpu.is_ready), default=time.monotonic())
        there = int(ray.cluster_resources().get("GPU", 0))
        useless = f", {len(self._useless)} of them cannot compute flow" if self._useless else ""
        asked = len(self._gpus) + len(self._useless)
        return f"a GPU: {lack(asked, there, growing, time.monotonic() - since)}{useless}"

    def _look(self) -> None:
        """Takes in what the actors that are new have answered."""
        new = {gpu.ready: gpu for gpu in self._gpus if not gpu.is_ready}
        answered, _ = ray.wait(list(new), num_returns=len(new), timeout=0) if new else ([], [])
        for ref in answered:
            gpu = new[ref]
            try:
                probed = cast(Probed, ray.get(ref))
            except LOST_WORK:
                self._gpus.remove(gpu)
                continue
            gpu.is_ready = not probed.trouble
            if probed.trouble:
                self._gpus.remove(gpu)
                self._useless.append(gpu)
                self._say(f"a GPU is not used: node {probed.node[:8]}: {probed.trouble}")

    def start(self, job: ClipJob) -> Ref:
        """Gives a clip to the GPU with the least to do; one is ready."""
        idlest = min(self._gpus, key=lambda gpu: (not gpu.is_ready, gpu.held))
        ref = cast(Ref, idlest.actor.process.remote(self._folders, job))
        idlest.held += 1
        self._held_by[ref] = idlest
        return ref

    def ended(self, ref: Ref) -> Gpu:
        """The GPU that had this clip."""
        gpu = self._held_by.pop(ref)
        gpu.held -= 1
        return gpu

    def lose(self, gpu: Gpu) -> None:
        """Its actor or its node died."""
        if gpu in self._gpus:
            self._gpus.remove(gpu)


def cores_beside_a_gpu(known: int) -> int:
    """Cores that every node with GPUs has for each of them, as far as an actor can use them; where there is none at
    the moment, as many as were `known`."""
    there = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    return min([GPU_THREADS, *(int(has.get("CPU", 0) // has["GPU"]) for has in there)]) if there else known
