"""Real Ray clusters on loopback, each with a token and a temporary folder of its own; nothing outlives its `with`."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kinetics_pipeline.workflows.benchmarks.local_cluster import (
    SCRIPTS,
    Cluster,
    private_environment,
    running,
    several_nodes,
)

__all__ = ["SCRIPTS", "Cluster", "head", "namespaces_allowed", "several_nodes"]


def namespaces_allowed() -> bool:
    return subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode == 0


@contextmanager
def head(cpus: int) -> Iterator[Cluster]:
    """A node as `ray start --head` makes it, with the dashboard that takes jobs."""
    with private_environment() as environment:
        port, dashboard, agent, client = free_ports(4)
        command = [
            *(str(SCRIPTS / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={cpus}"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
            *("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"),
        ]
        environment["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        with running(command, environment) as process:
            cluster = Cluster(f"127.0.0.1:{port}", environment, dashboard=f"http://127.0.0.1:{dashboard}")
            _wait_for_jobs(cluster, process)
            yield cluster


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
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
