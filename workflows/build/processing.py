"""The clips that wait for a core (or a GPU), those that are on one, and when one of them takes too long."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record
from workflows.build.stages import Candidate, GpuProcessor, Processed, process_on_cpu
from workflows.build.workplace import LOST, Workplace

LOOK_EVERY = 15.0
"""Seconds between two looks at the size of the cluster."""
GPU_THREADS = 4
"""Clips that one GPU has in hand: one on the device, the others decoding before and encoding behind it."""


@dataclass(frozen=True)
class Job:
    clip: Clip
    source: str
    """Key of the source that the candidates come from."""
    candidates: Sequence[Candidate]
    label: int
    before: Record


class Processing:
    """Feeds the cluster's cores with a little more than they can hold, so that none waits for the driver."""

    def __init__(self, workplace: Workplace, recipe: Recipe, time_limit: float) -> None:
        self.workplace, self.recipe, self.time_limit = workplace, recipe, time_limit
        self.waiting: deque[Job] = deque()
        self.running: dict[ray.ObjectRef, tuple[Job, float]] = {}
        self._on_gpu = recipe.flow != "none" and recipe.flow_backend == "cuda"
        self._actors: list[Any] = []
        self._held_by: dict[ray.ObjectRef, int] = {}
        self._looked = 0.0
        self.places = 1

    def add(self, job: Job) -> None:
        self.waiting.append(job)

    def dispatch(self) -> None:
        """Starts what there is room for, and ends what has outlasted its limit twice over."""
        now = time.monotonic()
        if now - self._looked > LOOK_EVERY:
            self._looked, self.places = now, self._count_places()
        while self.waiting and len(self.running) < self.places + self._spare():
            job = self.waiting.popleft()
            arguments = (
                self.workplace,
                job.clip,
                job.candidates,
                self.recipe,
                job.label,
                self.time_limit,
                job.before,
            )
            self.running[self._submit(arguments)] = (job, now)
        for ref, (_, started) in self.running.items():
            # The stage has limits of its own; this one is for a process that no longer obeys them. A job may first
            # have waited for another to leave its core.
            if now - started > 2 * self.time_limit + 60:
                ray.cancel(ref, force=not self._on_gpu)

    def result(self, ref: ray.ObjectRef) -> tuple[Job, Processed | str]:
        """What became of a job: its result, or one line on how it was lost."""
        job, _ = self.running.pop(ref)
        self._held_by.pop(ref, None)
        try:
            return job, ray.get(ref)
        except ray.exceptions.TaskCancelledError:
            return job, f"took more than {self.time_limit:.0f} s"
        except ray.exceptions.OutOfMemoryError:
            return job, "its worker ran out of memory"
        except LOST:
            return job, "its worker or node died"
        except ray.exceptions.RayTaskError as error:
            return job, f"{type(error.cause).__name__}: {str(error.cause).splitlines()[0] if str(error.cause) else ''}"

    @property
    def backlog(self) -> int:
        return len(self.waiting) + len(self.running)

    def _spare(self) -> int:
        return 0 if self._on_gpu else max(1, self.places // 4)

    def _count_places(self) -> int:
        resources = ray.cluster_resources()
        if not self._on_gpu:
            return max(1, int(resources.get("CPU", 1)))
        gpus = max(1, int(resources.get("GPU", 1)))
        cores = max(1, min(GPU_THREADS, int(resources.get("CPU", 1)) // gpus))
        while len(self._actors) < gpus:
            self._actors.append(
                GpuProcessor.options(  # type: ignore[attr-defined]
                    num_gpus=1, num_cpus=cores, max_concurrency=GPU_THREADS
                ).remote()
            )
        return gpus * GPU_THREADS

    def _submit(self, arguments: tuple[Any, ...]) -> ray.ObjectRef:
        if not self._on_gpu:
            return process_on_cpu.remote(*arguments)
        held = list(self._held_by.values())
        idlest = min(range(len(self._actors)), key=held.count)
        ref = self._actors[idlest].process.remote(*arguments)
        self._held_by[ref] = idlest
        return ref
