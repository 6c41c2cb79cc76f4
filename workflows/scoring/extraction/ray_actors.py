"""Work on videos by actors of a Ray cluster, embedded or not. Weights travel once, frames never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import ray

from kinetics_pipeline.models.precision import Precision
from kinetics_pipeline.workflows.building.executor import Lost, Ref
from kinetics_pipeline.workflows.building.nodes import LOST_WORK
from kinetics_pipeline.workflows.building.ray_executor import lost_by
from kinetics_pipeline.workflows.scoring.extraction.outcomes import VideoOutcome
from kinetics_pipeline.workflows.scoring.extraction.resolving import Asked, resolve
from kinetics_pipeline.workflows.scoring.extraction.videos import Item
from kinetics_pipeline.workflows.scoring.extraction.worker import Progress, Task, Worker

ON_A_GPU = 3
"""Videos that share one GPU: one network at a time computes there, the others decode."""
CORES = 4
"""Cores of an actor: more of them help one network little."""
ANSWERS_WITHIN = 1.0
"""Seconds that the actors have to say how far they are."""

_worker = ray.remote(max_concurrency=3)(Worker)
_resolve = ray.remote(max_retries=3)(resolve)


class Actors:
    """Actors with a share of a GPU each, where the cluster has GPUs, else with some cores each."""

    def __init__(self, task: Task, weights: Sequence[Any]) -> None:
        self._task, self._weights = task, [ray.put(one) for one in weights]
        self._idle: list[Any] = []
        self._busy: dict[Ref, Any] = {}

    def places(self) -> int:
        resources = ray.cluster_resources()
        if resources.get("GPU", 0) >= 1:
            return int(resources["GPU"]) * ON_A_GPU
        return max(1, int(resources.get("CPU", 1)) // cores())

    def start(self, item: Item) -> Ref:
        actor = self._idle.pop() if self._idle else self._new()
        ref = cast(Ref, actor.work.remote(item))
        self._busy[ref] = actor
        return ref

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        ended, _ = ray.wait(list(refs), num_returns=1, timeout=seconds, fetch_local=False)
        return cast("list[Ref]", ended)

    def result(self, ref: Ref) -> VideoOutcome | Lost:
        actor = self._busy.pop(ref)
        try:
            outcome = cast(VideoOutcome, ray.get(cast(ray.ObjectRef, ref)))
        except LOST_WORK as error:
            memory = isinstance(error, ray.exceptions.OutOfMemoryError)
            return Lost("its worker ran out of memory" if memory else "its worker or node died")
        except ray.exceptions.RayTaskError as error:
            self._idle.append(actor)
            return lost_by(error, "features cannot be kept")
        self._idle.append(actor)
        return outcome

    def progress(self) -> list[Progress]:
        asked = [actor.progress.remote() for actor in self._busy.values()]
        if not asked:
            return []
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWERS_WITHIN)
        found = []
        for ref in ready:
            try:
                found.append(ray.get(ref))
            except (*LOST_WORK, ray.exceptions.RayTaskError):
                continue
        return [one for one in found if one is not None]

    def close(self) -> None:
        for actor in [*self._idle, *self._busy.values()]:
            ray.kill(actor)

    def _new(self) -> Any:
        options = _share()
        threads = None if "num_gpus" in options else options["num_cpus"]
        return _worker.options(**options).remote(self._task, _Fetched(self._weights), threads)


class _Fetched(Sequence[Any]):
    """Weights that an actor takes out of the object store, one after the other."""

    def __init__(self, refs: Sequence[Any]) -> None:
        self._refs = list(refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, index: Any) -> Any:
        return ray.get(self._refs[index])


def resolve_there(asked: Asked) -> tuple[tuple[Precision, ...], str | None]:
    """`resolve`, where the work will be done."""
    return cast("tuple[tuple[Precision, ...], str | None]", ray.get(_resolve.options(**_share()).remote(asked)))


def cores() -> int:
    """Cores of an actor without a GPU: as many as the smallest node has, up to `CORES`."""
    there = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max(1, min([CORES, *(count for count in there if count)]))


def _share() -> dict[str, Any]:
    """What an actor takes of its node."""
    if ray.cluster_resources().get("GPU", 0) >= 1:
        return {"num_gpus": 1 / ON_A_GPU, "num_cpus": 1}
    return {"num_cpus": cores()}
