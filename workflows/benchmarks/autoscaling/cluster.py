"""A head with an autoscaler whose nodes are processes of this machine, and GPUs that exist by name only."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.benchmarks.local_cluster import (
    SCRIPTS,
    STARTS,
    NotStarted,
    private_environment,
    running,
)

HEAD = "f" * 51 + "00000"
"""The id of the head, which Ray's fake provider expects."""
HEAD_TYPE = "ray.head.default"
STORE = 80_000_000
"""Bytes of a node's object store."""
STARTED = "Ray runtime started"
"""What `ray start` says once the head has started; Ray gives up itself where that takes long."""
SILENT_SECONDS = 10
"""Seconds after which the first version of the autoscaler takes a node for lost that says nothing."""
TOLD = re.compile(r"Adding|StandardAutoscaler|Terminating|Removing|Launch|idle|infeasible|No available node")
"""Lines of the autoscaler's log that say what it did."""

_FAKE_CUDA = """\
import sys, time
from pathlib import Path
import kinetics_pipeline.flow.backends as backends
backends._MODULES["cuda"] = "sitecustomize"
backends._no_cuda = lambda: None if Path({switch!r}).exists() else "there is no NVIDIA driver"
def flow(grey, parameters, threads=None, *, quantised=False):
    from kinetics_pipeline.flow import cpu
    if len(grey) > 2 and Path({slow!r}).exists():
        time.sleep(float(Path({slow!r}).read_text()))
    return cpu.flow(grey, parameters, threads, quantised=quantised)
"""
"""A `sitecustomize` for the processes of a node: its flow backend `cuda` computes on the cores while the switch, a
file, is there; without it the node is one whose GPU has no driver. A second file has the seconds that a clip is to take
longer."""


@dataclass(frozen=True)
class Kind:
    """A type of node that the autoscaler may start."""

    cores: int
    gpus: int
    most: int
    """Nodes of it at a time."""


@dataclass(frozen=True)
class Autoscaled:
    """A cluster that runs."""

    environment: Mapping[str, str]
    """What a command needs to reach it."""
    head: psutil.Process
    folder: Path
    switch: Path
    """While this file is there, the GPUs compute."""
    slow: Path
    """While this file is there, a clip takes as many seconds longer as it holds."""

    def running(self) -> dict[str, str]:
        """Id -> type of the nodes that run now, without the head."""
        found: dict[str, str] = {}
        for process in self.head.children(recursive=True):
            with suppress(psutil.Error):
                if Path(process.exe()).name == "raylet" and process.status() != psutil.STATUS_ZOMBIE:
                    variables = process.environ()
                    kind = variables.get("RAY_NODE_TYPE_NAME", "")
                    if kind and kind != HEAD_TYPE:
                        found[variables["RAY_OVERRIDE_NODE_ID_FOR_TESTING"]] = kind
        return found

    def nodes(self) -> dict[str, int]:
        """Type -> number of the nodes that run now, without the head."""
        return dict(sorted(Counter(self.running().values()).items()))

    def kill_node(self, kind: str) -> None:
        """Ends a node of this type with everything on it, at once and without a word."""
        for process in self.head.children(recursive=True):
            with suppress(psutil.Error):
                if Path(process.exe()).name == "raylet" and process.environ().get("RAY_NODE_TYPE_NAME") == kind:
                    for one in [process, *process.children(recursive=True)]:
                        with suppress(psutil.Error):
                            one.kill()
                    return
        raise AssertionError(f"there is no node of type {kind}")

    def log(self) -> list[str]:
        """What the autoscaler wrote of what it did."""
        return [line for line in self.whole_log().splitlines() if TOLD.search(line)]

    def whole_log(self) -> str:
        files = sorted(self.folder.glob("ray/session_latest/logs/monitor.*"))
        return "".join(file.read_text(errors="replace") for file in files)


@contextmanager
def autoscaled(kinds: Mapping[str, Kind], *, idle_seconds: float, version: int = 1) -> Iterator[Autoscaled]:
    """A head without cores, and an autoscaler that starts nodes of these types, and ends one that had nothing to do for
    so many seconds. `version`: of Ray's two autoscalers, `ray up` runs the first and KubeRay the second."""
    with private_environment() as environment:
        folder = Path(environment["RAY_TMPDIR"])
        port = _free_port()
        address = f"127.0.0.1:{port}"
        (hooks := folder / "hooks").mkdir()
        switch, slow = folder / "cuda", folder / "slow"
        (hooks / "sitecustomize.py").write_text(_FAKE_CUDA.format(switch=str(switch), slow=str(slow)))
        (config := folder / "autoscaler.json").write_text(
            json.dumps(_config(kinds, address, idle_seconds, launch_multiple=version == 2))
        )
        for_nodes = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "AUTOSCALER_HEARTBEAT_TIMEOUT_S": str(SILENT_SECONDS),
            "RAY_FAKE_CLUSTER": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(hooks), os.environ.get("PYTHONPATH", "")))),
        }
        if version == 2:
            for_nodes |= {"RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD}
        for_nodes |= {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "RAY_NODE_TYPE_NAME": HEAD_TYPE}
        command = [
            *(str(SCRIPTS / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=0", "--num-gpus=0"),
            *("--include-dashboard=false", f"--object-store-memory={STORE}", f"--autoscaling-config={config}"),
            *("--min-worker-port=0", "--max-worker-port=0"),
        ]
        with ExitStack() as stack:
            for _ in range(STARTS):
                process = stack.enter_context(running(command, {**environment, **for_nodes}))
                if _has_started(process):
                    break
                stack.pop_all().close()
            else:
                raise NotStarted(f"Ray's head did not start in {counted(STARTS, 'try')}")
            yield Autoscaled({**environment, "RAY_ADDRESS": address}, psutil.Process(process.pid), folder, switch, slow)


def _config(
    kinds: Mapping[str, Kind], address: str, idle_seconds: float, *, launch_multiple: bool
) -> dict[str, object]:
    types: dict[str, object] = {HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    for name, kind in kinds.items():
        resources = {"CPU": kind.cores, "object_store_memory": STORE, **({"GPU": kind.gpus} if kind.gpus else {})}
        types[name] = {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": kind.most}
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "fake",
        "max_workers": sum(kind.most for kind in kinds.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_seconds / 60,
        "provider": {
            # By its class: the name alone has the second version read a file of defaults that Ray's wheels lack.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": HEAD,
            "launch_multiple": launch_multiple,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": types,
        "head_node_type": HEAD_TYPE,
        **{f"{name}_commands": [] for name in lists},
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "file_mounts_sync_continuously": False,
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _has_started(process: subprocess.Popen[str]) -> bool:
    """Whether the head came up; False where Ray gave up, as on a machine with much other work."""
    assert process.stdout is not None
    return any(STARTED in line for line in process.stdout)
