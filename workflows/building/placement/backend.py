"""What computes the flow of a new dataset: decided once, and only by what a node of the cluster has computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kinetics_pipeline.errors import JobFailed, WorkRemains
from kinetics_pipeline.flow import FlowBackend, require_backend
from kinetics_pipeline.recipe import FlowMethod
from kinetics_pipeline.workflows.building.executor import Moment, Ref
from kinetics_pipeline.workflows.building.placement.autoscaler import Autoscaler, lack
from kinetics_pipeline.workflows.building.placement.probe import Probed
from kinetics_pipeline.workflows.building.resources import STARTS_WITHIN
from kinetics_pipeline.workflows.runtime.progress import duration

PATIENCE = 10.0
"""Seconds in which an autoscaler is heard of where there is one, and after which it is told what is waited for."""
TICK = 0.5


class Cluster(Protocol):
    """What is asked of Ray."""

    @property
    def embedded(self) -> bool:
        """Whether it is this machine alone."""

    def now(self) -> Moment: ...

    def cores(self) -> float: ...

    def gpu_nodes(self) -> Sequence[str]:
        """The ids of the nodes with a GPU, as far as they say."""

    def autoscaler(self) -> Autoscaler | None:
        """None where there is none, or nothing was heard of it yet."""

    def rest(self, seconds: float) -> None: ...

    def start_probe(self, backend: FlowBackend | None, node: str | None) -> Ref:
        """Begins to compute a pair on a node (None: on any) with what the backend needs; None: only takes a core."""

    def probed(self, refs: Sequence[Ref], seconds: float) -> dict[Ref, Probed]:
        """Those that have ended; waits so many seconds for the first."""

    def give_up(self, refs: Sequence[Ref]) -> None: ...


@dataclass(frozen=True)
class Settling:
    """Finds the backend, and waits for what it needs."""

    cluster: Cluster
    say: Callable[[str], None]
    max_wait: float
    """Seconds; see `STARTS_WITHIN`."""
    go_on: Callable[[], None]
    """Raises when the build is to end; called about twice a second."""
    waits: Callable[[str], None] = lambda line: None
    """Is told what is waited for, about twice a second."""

    @property
    def _longest(self) -> float:
        """Seconds that are waited for a core or a GPU."""
        return max(self.max_wait, STARTS_WITHIN)

    def backend(self, flow: FlowMethod, asked: FlowBackend | None, existing: FlowBackend | None) -> FlowBackend:
        """The backend of the recipe. `asked`: None for `auto`. `existing`: that of a dataset that is there.

        Returns once there is a core, or for `cuda` a GPU, that computed a pair where nothing was computed before.
        Raises UserError or JobFailed where that cannot be, and WorkRemains when nothing came within `max_wait`.
        """
        chosen = existing or asked
        for_gpu = flow != "none" and chosen == "cuda"
        if not self.cluster.cores() and not self.cluster.gpu_nodes() and not for_gpu:
            self._require_growth("no core")
        if flow == "none":
            if not self.cluster.cores():
                self._on_a_core(None)
            return chosen or "cpu"
        if chosen is None:
            return self._auto()
        if chosen == "cuda":
            self._on_a_gpu()
        elif existing is None or not self.cluster.cores():
            self._on_a_core(chosen)
        return chosen

    def _auto(self) -> FlowBackend:
        """A GPU where one computes flow, else the cores."""
        cluster = self.cluster
        if nodes := cluster.gpu_nodes():
            found = self._probed("cuda", nodes, STARTS_WITHIN)
            troubles = [one for one in found if one.trouble]
            for one in troubles:
                self.say(f"a GPU is not used: node {one.node[:8]}: {one.trouble}")
            if len(troubles) < len(found):
                self.say("flow on cuda, for the whole dataset (--flow-backend cpu takes the cores instead)")
                return "cuda"
            if not found:
                self.say("the GPUs are not used: others have them")
        self._on_a_core("cpu")
        where = "this machine has" if cluster.embedded else "the cluster has now"
        more = "" if cluster.embedded else "; --flow-backend cuda asks for GPUs"
        if not cluster.embedded and cluster.autoscaler() is not None:
            more += f", and waits for the autoscaler up to --max-wait ({duration(self.max_wait)})"
        self.say(f"flow on cpu, for the whole dataset: {where} no GPU that computes it{more}")
        return "cpu"

    def _on_a_gpu(self) -> None:
        cluster = self.cluster
        nodes = cluster.gpu_nodes()
        if not nodes and cluster.embedded:
            require_backend("cuda")
            raise JobFailed("flow on cuda needs a GPU, and Ray sees none on this machine")
        if not nodes:
            self._require_growth("no GPU for flow on cuda")
        found = self._probed("cuda", nodes or [None], self._longest)
        if not found:
            raise WorkRemains(f"no GPU was to be had within {duration(self._longest)} (--max-wait)")
        if all(one.trouble for one in found):
            raise JobFailed(f"flow on cuda: node {found[0].node[:8]}: {found[0].trouble}")
        for one in found:
            if one.trouble:
                self.say(f"a GPU is not used: node {one.node[:8]}: {one.trouble}")

    def _on_a_core(self, backend: FlowBackend | None) -> None:
        found = self._probed(backend, [None], self._longest)
        if not found:
            raise WorkRemains(f"no core was to be had within {duration(self._longest)} (--max-wait)")
        if found[0].trouble:
            raise JobFailed(f"flow on {backend}: node {found[0].node[:8]}: {found[0].trouble}")

    def _require_growth(self, lacking: str) -> None:
        """Raises JobFailed where no autoscaler is heard of within `PATIENCE`."""
        began = self.cluster.now().monotonic
        while (growing := self.cluster.autoscaler()) is None:
            if self.cluster.now().monotonic - began > PATIENCE - 2 * TICK:
                mend = "add a node (ray start --address)"
                raise JobFailed(f"the cluster has {lacking}, and no autoscaler that could bring one; {mend}")
            self.waits(f"the cluster has {lacking}; whether an autoscaler can bring one is not known yet")
            self.cluster.rest(TICK)
            self.go_on()
        self.say(f"the cluster has {lacking}: {growing}, for up to {duration(self.max_wait)} (--max-wait)")

    def _probed(self, backend: FlowBackend | None, nodes: Sequence[str | None], max_wait: float) -> list[Probed]:
        """What came of a pair on these nodes: of those that had answered once one had computed it. Empty when none
        had within `max_wait` seconds."""
        cluster, began, told = self.cluster, self.cluster.now().monotonic, ""
        running = [cluster.start_probe(backend, node) for node in nodes]
        found: list[Probed] = []
        try:
            while running and all(one.trouble for one in found):
                answered = cluster.probed(running, TICK)
                found += answered.values()
                running = [ref for ref in running if ref not in answered]
                self.go_on()
                waited = cluster.now().monotonic - began
                if waited > max_wait:
                    break
                if running and (line := self._waits_for(backend, waited)):
                    self.waits(line)
                    if waited > PATIENCE and line != told:
                        told = line
                        self.say(line)
            return found
        finally:
            cluster.give_up(running)

    def _waits_for(self, backend: FlowBackend | None, waited: float) -> str:
        cluster, on_gpu = self.cluster, backend == "cuda"
        there = len(cluster.gpu_nodes()) if on_gpu else int(cluster.cores())
        what, pair = ("GPU", " to compute a pair of frames") if on_gpu else ("core", "")
        if there:  # its process starts, which loads torch, or somebody else has it
            return f"waiting for a {what}{pair}: {there} there, not free yet"
        growing = None if cluster.embedded else cluster.autoscaler()
        return f"waiting for a {what}: {lack(1, 0, growing, waited)}"
