"""The Ray cluster as it is asked where to compute flow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import ray

from kinetics_pipeline.flow import FlowBackend
from kinetics_pipeline.workflows.building.executor import Moment, Ref
from kinetics_pipeline.workflows.building.nodes import LOST_WORK, on, this_node
from kinetics_pipeline.workflows.building.placement.autoscaler import Autoscaler, autoscaler
from kinetics_pipeline.workflows.building.placement.probe import Probed, trouble_with
from kinetics_pipeline.workflows.building.resources import CORE, TABLE
from kinetics_pipeline.workflows.runtime.cluster import addressed


def _probe(backend: FlowBackend | None) -> Probed:
    return Probed(this_node(), "" if backend is None else trouble_with(backend))


_remote_probe: Any = ray.remote(max_retries=0)(_probe)


def unplaced() -> int:
    """Pieces of work, whoever's they are, that want a core and that Ray has none for now."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    demands = get_cluster_status(ray.get_runtime_context().gcs_address).resource_demands.ray_task_actor_demand
    return sum(one.count for demand in demands for one in demand.bundles_by_count if one.bundle.get("CPU", 0.0) >= CORE)


class RayCluster:
    """See `backend.Cluster`."""

    embedded = property(lambda self: not addressed())

    def now(self) -> Moment:
        return Moment(time.time(), time.monotonic())

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def cores(self) -> float:
        return float(ray.cluster_resources().get("CPU", 0))

    def gpu_nodes(self) -> Sequence[str]:
        return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]

    def autoscaler(self) -> Autoscaler | None:
        return autoscaler() if addressed() else None

    def start_probe(self, backend: FlowBackend | None, node: str | None) -> Ref:
        placed = {} if node is None else {"scheduling_strategy": on(node)}
        options = TABLE["probe_on_gpu" if backend == "cuda" else "probe"].options(**placed)
        return cast(Ref, _remote_probe.options(**options).remote(backend))

    def probed(self, refs: Sequence[Ref], seconds: float) -> dict[Ref, Probed]:
        tasks: list[Any] = list(refs)
        ended, _ = ray.wait(tasks, num_returns=1, timeout=seconds)
        return {ref: self._answer(ref) for ref in ended}

    def _answer(self, ref: Any) -> Probed:
        try:
            return cast(Probed, ray.get(ref))
        except LOST_WORK as error:
            return Probed("", f"the process that tried it died ({type(error).__name__})")

    def give_up(self, refs: Sequence[Ref]) -> None:
        for ref in refs:
            ray.cancel(cast(Any, ref), force=True)
