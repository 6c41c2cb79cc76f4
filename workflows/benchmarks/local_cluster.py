"""A real Ray cluster of several nodes on loopback, with a token and a temporary folder of its own.

    python -m kinetics_pipeline.workflows.benchmarks.local_cluster COUNT [FOLDER CACHE]

As a program: a `ray.cluster_utils.Cluster` with a head that only drives and COUNT nodes of one core each; with a COUNT
of 0 the head has two cores and works itself. With FOLDER each node sees a folder of its own (FOLDER/0, FOLDER/1, ...)
at the path CACHE, as machines that share no disk do: each is started in a mount namespace of its own. Says {"address",
"raylets"} on stdout, a process id for each node; answers every line on stdin with {"raylets"} of one node more; ends
when stdin does.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from kinetics_pipeline.workflows.runtime.cluster import IDLE_WORKERS_MS, is_late

SCRIPTS = Path(sys.executable).parent
CLONE_NEWNS = 0x00020000
STARTS = 3
"""Times that a cluster, or a node, is begun that did not start in time, as on a machine with other work."""


class NotStarted(AssertionError):
    """A cluster's nodes did not start; holds what they said."""


@dataclass
class Cluster:
    """A cluster that runs, and the environment that a command needs to reach it."""

    address: str
    environment: dict[str, str]
    raylets: tuple[int, ...] = ()
    """A process id for each node but the head."""
    dashboard: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def kill_node(self, raylet: int) -> None:
        """Ends a node with everything on it, at once and without a word, as a power cut does."""
        node = psutil.Process(raylet)
        for process in [node, *node.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def add_node(self) -> None:
        """One node more, in the place of those that are gone."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        alive = tuple(raylet for raylet in self.raylets if _is_alive(raylet))
        self.raylets = (*alive, *_first_document(self.process)["raylets"])

    def workers(self, part_of_name: str) -> list[psutil.Process]:
        """The processes of the nodes that are called so (`ray::Fetcher`, say), and what else runs under that name."""
        found = []
        for raylet in self.raylets:
            with suppress(psutil.NoSuchProcess):
                for process in psutil.Process(raylet).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        if part_of_name in " ".join(process.cmdline()):
                            found.append(process)
        return found

    def node_of(self, part_of_name: str) -> int:
        """The node that runs a process of this name."""
        for process in self.workers(part_of_name):
            with suppress(psutil.NoSuchProcess):
                for parent in process.parents():
                    if parent.pid in self.raylets:
                        return parent.pid
        raise AssertionError(f"no node runs {part_of_name}")


@contextmanager
def several_nodes(
    count: int, private: tuple[Path, Path] | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A head that only drives and `count` nodes of one core, or for none a head of two cores. `private`: the FOLDER and
    CACHE of the module's first lines; `variables`: more of the nodes' environment."""
    with private_environment() as environment:
        words = [str(count), *(map(str, private) if private is not None else ())]
        script = [sys.executable, "-m", __name__, *words]
        if private is not None:
            script = ["unshare", "--map-root-user", "--mount", *script]
        with ExitStack() as stack:
            for left in reversed(range(STARTS)):
                process = stack.enter_context(running(script, {**environment, **(variables or {})}))
                try:
                    said = _first_document(process)
                    break
                except NotStarted:
                    if not left or private is not None:
                        raise
                    stack.pop_all().close()
            environment["RAY_ADDRESS"] = said["address"]
            yield Cluster(said["address"], environment, tuple(said["raylets"]), process=process)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)


@contextmanager
def private_environment() -> Iterator[dict[str, str]]:
    """Variables for a cluster that no other Ray of this machine meets. Sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    ours = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_idle_worker_killing_time_threshold_ms": str(IDLE_WORKERS_MS),
        "RAY_ADDRESS": "",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        yield ours
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process, ended on leaving with everything that it has started."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
            process.kill()
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(family, timeout=15)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def _is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _first_document(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON that it says."""
    assert process.stdout is not None
    said = []
    while line := process.stdout.readline():
        if line.startswith("{"):
            document: dict[str, Any] = json.loads(line)
            return document
        said.append(line)
    raise NotStarted("".join(said))


# As a program


def _see_at(mine: Path, path: Path) -> None:
    """Makes `mine` lie at `path`, for this process and those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mine.mkdir(parents=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(mine), str(path)], check=True)


def _started(add: Callable[[], Any]) -> Any:
    """A node, started again where it is late."""
    for _ in range(STARTS - 1):
        try:
            return add()
        except Exception as error:
            if not is_late(error):
                raise
    return add()


def _main(count: int, folder: Path | None = None, cache: Path | None = None) -> None:
    from ray.cluster_utils import Cluster

    # Nobody reads what Ray's monitor of logs and its autoscaler would say.
    head = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0 if count else 2, **head})
    raylets: list[int] = []

    def add() -> None:
        if folder is not None and cache is not None:
            _see_at(folder / str(len(raylets)), cache)
        node = _started(lambda: cluster.add_node(num_cpus=1, include_log_monitor=False))
        raylets.append(node.all_processes["raylet"][0].process.pid)

    for _ in range(count):
        add()
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    while sys.stdin.readline():
        add()
        print(json.dumps({"raylets": raylets[-1:]}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    places = [Path(os.path.abspath(word)) for word in sys.argv[2:]]
    _main(int(sys.argv[1]), *places)
