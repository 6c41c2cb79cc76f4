"""The clips that wait for a core (or a GPU), those that are on one, and when one of them takes too long."""

from __future__ import annotations

import errno
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record
from kinetics_pipeline.workflows.building.cache_folders import LOST, Workplace
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.stages import Candidate, GpuProcessor, Processed, process_on_cpu

LOOK_EVERY = 15.0
"""Seconds between two looks at the size of the cluster."""
GPU_THREADS = 4
"""Clips that one GPU has in hand: one on the device, the others decoding before and encoding behind it."""


STOPPING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""Errors of a disk that would befall every clip: the run ends, and no clip is charged."""


@dataclass(frozen=True)
class Job:
    clip: Clip
    source: str
    """Key of the source that the candidates come from."""
    candidates: Sequence[Candidate]
    label: int
    before: Record


@dataclass(eq=False)
class _Gpu:
    """An actor that has one GPU, or waits for one."""

    actor: Any
    ready: ray.ObjectRef
    held: int = 0
    """Jobs that it was given and that have not come back."""


class Processing:
    """Feeds the cluster's cores with a little more than they can hold, so that none waits for the driver."""

    def __init__(
        self, workplace: Workplace, recipe: Recipe, disk: Disk, time_limit: float, keep: str | None = None
    ) -> None:
        self.disk, self.keep = disk, keep
        self.workplace, self.recipe, self.time_limit = workplace, recipe, time_limit
        self.waiting: deque[Job] = deque()
        self.running: dict[ray.ObjectRef, tuple[Job, float]] = {}
        self._on_gpu = recipe.flow != "none" and recipe.flow_backend == "cuda"
        self._gpus: list[_Gpu] = []
        self._held_by: dict[ray.ObjectRef, _Gpu] = {}
        self._looked = -math.inf
        self.places = 1

    def add(self, job: Job) -> None:
        self.waiting.append(job)

    def dispatch(self) -> None:
        """Starts what there is room for, and ends what has outlasted its limit twice over."""
        now = time.monotonic()
        if now - self._looked > LOOK_EVERY:
            self._looked, self.places = now, self._count_places()
        while self.waiting and len(self.running) < self.places + self._spare():
            if not self.disk.clip(self.waiting[0].clip):
                break
            job = self.waiting.popleft()
            arguments = (
                self.workplace,
                job.clip,
                job.candidates,
                self.recipe,
                job.label,
                self.time_limit,
                job.before,
                self.keep,
            )
            ref = self._submit(arguments)
            self.running[ref] = (job, now)
            unpacked = sum(one.media.inside.size for one in job.candidates if one.media.inside)
            self.disk.promise(ref, self.disk.rows([job.clip]) + unpacked)
        for ref, (_, started) in self.running.items():
            # The stage has limits of its own; this one is for a process that no longer obeys them. A job may first
            # have waited for another to leave its core.
            if now - started > 2 * self.time_limit + 60:
                ray.cancel(ref, force=not self._on_gpu)

    def result(self, ref: ray.ObjectRef) -> tuple[Job, Processed | str]:
        """What became of a job: its result, or one line on how it was lost."""
        job, _ = self.running.pop(ref)
        self.disk.settle(ref)
        gpu = self._held_by.pop(ref, None)
        if gpu is not None:
            gpu.held -= 1
        try:
            return job, ray.get(ref)
        except ray.exceptions.TaskCancelledError:
            return job, f"took more than {self.time_limit:.0f} s"
        except ray.exceptions.OutOfMemoryError:
            return job, "its worker ran out of memory"
        except LOST:
            if gpu in self._gpus:
                self._gpus.remove(gpu)
                self._looked = -math.inf
            return job, "its worker or node died"
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            if isinstance(error.cause, OSError) and error.cause.errno in STOPPING:
                raise JobFailed(f"a finished clip cannot be kept in the cache: {error.cause.strerror}") from None
            return job, f"{type(error.cause).__name__}: {str(error.cause).splitlines()[0] if str(error.cause) else ''}"

    @property
    def backlog(self) -> int:
        return len(self.waiting) + len(self.running)

    @property
    def fetched_backlog(self) -> int:
        """Of the backlog, the clips that were fetched from a network: their downloads lie in the cache."""
        jobs = [*self.waiting, *(job for job, _ in self.running.values())]
        return sum(job.candidates[0].node is not None for job in jobs)

    def _spare(self) -> int:
        return 0 if self._on_gpu else max(1, self.places // 4)

    def _count_places(self) -> int:
        resources = ray.cluster_resources()
        if not self._on_gpu:
            return max(1, int(resources.get("CPU", 1)))
        gpus = max(1, int(resources.get("GPU", 1)))
        if len(self._gpus) > gpus:  # one was asked for before its node was known to be gone, and would wait for ever
            self._give_up(len(self._gpus) - gpus)
        while len(self._gpus) < gpus:
            actor = GpuProcessor.options(  # type: ignore[attr-defined]
                num_gpus=1, num_cpus=_cores_beside_a_gpu(), max_concurrency=GPU_THREADS
            ).remote()
            self._gpus.append(_Gpu(actor, actor.__ray_ready__.remote()))
        return gpus * GPU_THREADS

    def _give_up(self, count: int) -> None:
        """Lets go of actors that have no GPU; what they hold comes back as lost."""
        _, waiting = ray.wait([gpu.ready for gpu in self._gpus], num_returns=len(self._gpus), timeout=0)
        for gpu in [gpu for gpu in self._gpus if gpu.ready in waiting][:count]:
            self._gpus.remove(gpu)
            ray.kill(gpu.actor)

    def _submit(self, arguments: tuple[Any, ...]) -> ray.ObjectRef:
        if not self._on_gpu:
            return process_on_cpu.remote(*arguments)
        idlest = min(self._gpus, key=lambda gpu: gpu.held)
        ref = idlest.actor.process.remote(*arguments)
        idlest.held += 1
        self._held_by[ref] = idlest
        return ref


def _cores_beside_a_gpu() -> int:
    """Cores that every node with GPUs has for each of them, as far as an actor can use them."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    return min([GPU_THREADS, *(int(has.get("CPU", 0) // has["GPU"]) for has in nodes)])
