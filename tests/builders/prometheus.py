"""A real Prometheus (Debian's package) that reads ports of this machine, and what it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders.clusters import free_ports

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus is installed (Debian: prometheus)"
)


@contextmanager
def prometheus(folder: Path, rules: Path, ports: Sequence[int]) -> Iterator[str]:
    """A Prometheus that reads the ports once a second and evaluates the rules; its address."""
    (own,) = free_ports(1)
    targets = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "build", "static_configs": targets}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [
        *("prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        f"--web.listen-address=127.0.0.1:{own}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address, deadline = f"http://127.0.0.1:{own}", time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/-/ready", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answer(address: str, query: str) -> list[Any]:
    """What a query is answered now, without what is not a number."""
    found = _get(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}")["data"]["result"]
    return [one for one in found if one["value"][1] != "NaN"]


def rules_of(address: str) -> list[dict[str, Any]]:
    """The rules as Prometheus has them, with their health."""
    return [rule for group in _get(f"{address}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as document:
        return json.load(document)
