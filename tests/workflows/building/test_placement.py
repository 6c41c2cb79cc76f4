"""Where work runs: the flow backend is settled by a computed pair, nodes with needed files are held."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.flow import FlowBackend
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.__main__ import main
from kinetics_pipeline.workflows.building.executor import Moment, Ref
from kinetics_pipeline.workflows.building.lease import Lease
from kinetics_pipeline.workflows.building.placement.autoscaler import Autoscaler, told_by
from kinetics_pipeline.workflows.building.placement.backend import Settling
from kinetics_pipeline.workflows.building.placement.holds import LINGER, Idle
from kinetics_pipeline.workflows.building.placement.probe import SIDE, Compute, Probed, trouble_with
from kinetics_pipeline.workflows.building.resources import TABLE
from kinetics_pipeline.workflows.building.watch.live import read_live
from kinetics_pipeline.workflows.building.watch.waiting import NodesAwaited


def right(frames: NDArray[np.uint8], backend: str) -> NDArray[np.float32]:
    """The motion that is in the frames."""
    flow = np.zeros((1, 2, SIDE, SIDE), np.float32)
    flow[:, 0] = 1
    return flow


def broken(frames: NDArray[np.uint8], backend: str) -> NDArray[np.float32]:
    raise RuntimeError("CUDA error: no kernel image\nand more")


@dataclass
class Standin:
    """A cluster whose nodes answer after so many seconds of its own clock."""

    nodes: dict[str, Compute]
    """Node with a GPU -> what computes there."""
    cores_there: float = 4
    embedded: bool = False
    growing: Autoscaler | None = None
    brings_after: float | None = None
    """Seconds after which the autoscaler brings what is asked; None: never."""
    time: float = 0.0
    asked: list[tuple[FlowBackend | None, str | None]] = field(default_factory=list)

    def now(self) -> Moment:
        return Moment(self.time, self.time)

    def rest(self, seconds: float) -> None:
        self.time += seconds

    def cores(self) -> float:
        return self.cores_there

    def gpu_nodes(self) -> Sequence[str]:
        return list(self.nodes)

    def autoscaler(self) -> Autoscaler | None:
        return self.growing

    def start_probe(self, backend: FlowBackend | None, node: str | None) -> Ref:
        self.asked.append((backend, node))
        return len(self.asked) - 1

    def probed(self, refs: Sequence[Ref], seconds: float) -> dict[Ref, Probed]:
        self.time += seconds
        found = {}
        for ref in refs:
            assert isinstance(ref, int)
            backend, node = self.asked[ref]
            there = self.cores_there if backend != "cuda" else node is not None
            came = self.brings_after is not None and self.time >= self.brings_after
            if there or came:
                compute = self.nodes.get(node or "", right) if backend == "cuda" else right
                found[ref] = Probed(node or "new", trouble_with(backend, compute) if backend else "")
        return found

    def give_up(self, refs: Sequence[Ref]) -> None: ...


def settle(
    cluster: Standin,
    asked: FlowBackend | None,
    existing: FlowBackend | None = None,
    max_wait: float = 5400.0,
    waits: Callable[[str], None] = lambda line: None,
) -> tuple[FlowBackend, list[str]]:
    said: list[str] = []
    backend = Settling(cluster, said.append, max_wait, lambda: None, waits).backend("tvl1", asked, existing)
    return backend, said


def test_a_pair_is_held_against_the_motion_that_is_in_it() -> None:
    assert trouble_with("cpu") == ""
    assert trouble_with("cuda", right) == ""
    assert trouble_with("cuda", broken) == "RuntimeError: CUDA error: no kernel image"
    assert "(0.00, 0.00) px in a motion of (1, 0)" in trouble_with("cuda", lambda f, b: 0 * right(f, b))
    assert "nan" in trouble_with("cuda", lambda f, b: np.nan * right(f, b))
    assert "array of (1, 2, 3, 3)" in trouble_with("cuda", lambda f, b: right(f, b)[..., :3, :3])


def test_auto_takes_a_gpu_only_after_it_has_computed_a_pair() -> None:
    backend, said = settle(Standin({"good": right}), None)
    assert (backend, len(said)) == ("cuda", 1)
    assert "flow on cuda" in said[0]
    cluster = Standin({"bad": broken, "good": right})
    assert settle(cluster, None)[0] == "cuda"
    assert cluster.asked == [("cuda", "bad"), ("cuda", "good")]


def test_a_gpu_without_cuda_is_told_in_a_line_and_auto_goes_on_with_cores() -> None:
    backend, said = settle(Standin({"bad": broken}), None)
    assert backend == "cpu"
    assert said[0] == "a GPU is not used: node bad: RuntimeError: CUDA error: no kernel image"
    assert "flow on cpu" in said[1]
    assert "--flow-backend cuda asks for GPUs" in said[1]


def test_a_gpu_without_cuda_ends_a_build_that_asks_for_it() -> None:
    with pytest.raises(JobFailed, match="flow on cuda: node bad: RuntimeError: CUDA error: no kernel image"):
        settle(Standin({"bad": broken}), "cuda")


def test_cuda_waits_for_the_gpu_that_an_autoscaler_brings() -> None:
    cluster = Standin({}, growing=Autoscaler({"gpu": 1}), brings_after=300)
    backend, said = settle(cluster, "cuda")
    assert backend == "cuda"
    assert cluster.time >= 300
    assert said[0].startswith("the cluster has no GPU for flow on cuda: its autoscaler brings 1 gpu")
    assert said[1] == "waiting for a GPU: 1 asked, 0 there; its autoscaler brings 1 gpu"
    assert len(said) == 2  # the same is not told again


def test_a_cluster_without_any_node_is_asked_for_a_gpu_alone_where_cuda_is_wanted() -> None:
    shown: list[str] = []
    cluster = Standin({}, cores_there=0, growing=Autoscaler({}), brings_after=300)
    _, said = settle(cluster, "cuda", waits=shown.append)
    assert said[0].startswith("the cluster has no GPU for flow on cuda: its autoscaler is asked")
    assert cluster.asked == [("cuda", None)]
    assert shown[0] == "waiting for a GPU: 1 asked, 0 there; its autoscaler is asked"
    assert shown[-1].endswith("its autoscaler brings none: has it a type of node for this, and room for one more?")


def test_what_a_cloud_refuses_is_told_with_its_reason() -> None:
    record = {"node_type": "gpu", "is_available": False, "last_checked_timestamp": 1.0}
    why = {"unavailable_node_information": {"category": "InsufficientCapacity", "description": "no p4d\nin zone b"}}
    there = {"cpu": {**record, "is_available": True, "unavailable_node_information": None}}
    report = {
        "active_nodes": {"head": 1},
        "node_availability_summary": {"node_availabilities": {"gpu": record | why} | there},
    }
    found = told_by(json.dumps({"autoscaler_report": report}).encode())
    assert found is not None
    assert found.told(0.0) == "its autoscaler could not start gpu (InsufficientCapacity: no p4d in zone b)"
    odd = {"active_nodes": {"head": 1}, "node_availability_summary": ["of another version"]}
    assert told_by(json.dumps({"autoscaler_report": odd}).encode()) == Autoscaler({})


def test_status_says_what_a_build_waits_for_before_there_is_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "waiting for a GPU: 1 asked, 0 there; its autoscaler brings 1 gpu"
    store = open_store(tmp_path / "new")
    with Lease.acquire(store), suppress(WorkRemains), NodesAwaited(store) as awaited:
        assert main(["status", store.uri]) == 0
        assert "no dataset yet" in capsys.readouterr().out
        awaited.show(line)
        assert main(["status", store.uri, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["live"]["no_progress"] == line
        assert main(["status", store.uri]) == 0
        said = capsys.readouterr().out
        assert "no dataset yet" in said
        assert line in " ".join(said.split())
        raise WorkRemains("no GPU was to be had")
    assert main(["status", store.uri]) == 2  # nobody builds, and there is no dataset
    live = read_live(store)
    assert live is not None
    assert live.ended == "work remains: no GPU was to be had"


def test_a_gpu_that_does_not_come_within_max_wait_leaves_work() -> None:
    with pytest.raises(WorkRemains, match=r"no GPU was to be had within .* \(--max-wait\)"):
        settle(Standin({}, growing=Autoscaler({})), "cuda", max_wait=60)


def test_a_core_that_takes_seconds_to_answer_is_waited_for_whatever_max_wait_says() -> None:
    slow = Standin({}, cores_there=0, growing=Autoscaler({}), brings_after=20)
    assert settle(slow, None, max_wait=1)[0] == "cpu"


@pytest.mark.parametrize(("cores", "asked", "lack"), [(0, None, "no core"), (4, "cuda", "no GPU for flow on cuda")])
def test_a_cluster_that_lacks_something_and_cannot_grow_says_so_within_ten_seconds(
    cores: float, asked: FlowBackend | None, lack: str
) -> None:
    cluster = Standin({}, cores_there=cores)
    with pytest.raises(JobFailed, match=f"the cluster has {lack}, and no autoscaler"):
        settle(cluster, asked)
    assert cluster.time <= 10


def test_this_machine_without_a_gpu_refuses_cuda_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinetics_pipeline.flow.backends._no_cuda", lambda: "there is no NVIDIA driver")
    with pytest.raises(UserError, match="cannot run here: there is no NVIDIA driver"):
        settle(Standin({}, embedded=True), "cuda")


def test_a_dataset_keeps_its_backend_and_is_probed_only_for_cuda() -> None:
    cluster = Standin({"good": right})
    assert settle(cluster, None, existing="cpu") == ("cpu", [])
    assert cluster.asked == []
    assert settle(cluster, None, existing="cuda") == ("cuda", [])
    assert cluster.asked == [("cuda", "good")]


def test_a_head_without_an_autoscaler_is_known_by_the_types_of_its_nodes() -> None:
    def report(**more: object) -> bytes:
        return json.dumps({"autoscaler_report": more}).encode()

    assert told_by(report(active_nodes={f"node_{'0f' * 28}": 1})) is None
    assert told_by(b"{}") is None
    assert told_by(b"no JSON") is None
    found = told_by(
        report(active_nodes={"head": 1}, pending_launches={"gpu": 1}, pending_nodes=[["10.0.0.1", "gpu", "setting-up"]])
    )
    assert found == Autoscaler({"gpu": 2})


def test_a_clip_and_a_hold_share_a_core() -> None:
    assert TABLE["clip"].cores + TABLE["hold"].cores <= 1
    assert 16 * TABLE["clip"].cores + TABLE["hold"].cores <= 16


def test_an_actor_goes_only_after_its_node_was_not_needed_for_a_while() -> None:
    idle = Idle()
    assert idle.ended(["a", "b"], {"a"}, 0.0) == []
    assert idle.ended(["a", "b"], {"a"}, LINGER - 1) == []
    assert idle.ended(["a", "b"], {"b"}, LINGER) == []  # needed again: counted from zero
    assert idle.ended(["a", "b"], set(), LINGER + 1) == []
    assert idle.ended(["a", "b"], set(), 2 * LINGER) == ["a"]
