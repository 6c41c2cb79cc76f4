"""Real Ray clusters on loopback, each with a token and a temporary folder of its own; nothing outlives its `with`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, and the environment that a command needs to reach it."""

    address: str
    environment: dict[str, str]
    raylets: tuple[int, ...] = ()
    """A process id for each node but the head."""
    dashboard: str = ""

    def kill_node(self, raylet: int) -> None:
        """Ends a node with everything on it, at once and without a word, as a power cut does."""
        node = psutil.Process(raylet)
        for process in [node, *node.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def node_of(self, part_of_name: str) -> int:
        """The node that runs a process of this name (`ray::Fetcher`, say)."""
        for raylet in self.raylets:
            for process in psutil.Process(raylet).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if part_of_name in " ".join(process.cmdline()):
                        return raylet
        raise AssertionError(f"no node runs {part_of_name}")


@contextmanager
def several_nodes(count: int, private: tuple[Path, Path] | None = None) -> Iterator[Cluster]:
    """A head that only drives and `count` nodes of one core, or for none a head of two cores; `private`: see
    `several_nodes.py`."""
    with _environment() as environment:
        script = [sys.executable, str(Path(__file__).with_name("several_nodes.py")), str(count)]
        if private is not None:
            script = ["unshare", "--map-root-user", "--mount", *script, *map(str, private)]
        with _running(script, environment) as process:
            said = _first_line(process)
            environment["RAY_ADDRESS"] = said["address"]
            yield Cluster(said["address"], environment, tuple(said["raylets"]))
            process.stdin.close()
            process.wait(timeout=60)


def namespaces_allowed() -> bool:
    return subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode == 0


@contextmanager
def head(cpus: int) -> Iterator[Cluster]:
    """A node as `ray start --head` makes it, with the dashboard that takes jobs."""
    with _environment() as environment:
        port, dashboard, agent, client = _free_ports(4)
        command = [
            *(str(SCRIPTS / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={cpus}"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
            *("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"),
        ]
        environment["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        with _running(command, environment) as process:
            cluster = Cluster(f"127.0.0.1:{port}", environment, dashboard=f"http://127.0.0.1:{dashboard}")
            _wait_for_jobs(cluster, process)
            yield cluster


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """Variables for a cluster that no other Ray of this machine meets. Sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    ours = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        yield ours
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
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
        process.stdin.close()
        process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> dict[str, object]:
    """The first line of JSON that it says."""
    said = []
    while line := process.stdout.readline():
        if line.startswith("{"):
            return json.loads(line)
        said.append(line)
    raise AssertionError("".join(said))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait_for_jobs(cluster: Cluster, process: subprocess.Popen[str], seconds: float = 600) -> None:
    request = urllib.request.Request(
        f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"}
    )
    deadline = time.monotonic() + seconds
    while True:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(request, timeout=10).close()
            return
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the head takes no jobs"
        time.sleep(0.2)
