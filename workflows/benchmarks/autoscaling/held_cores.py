"""Keeps cores of a cluster busy until a file is there: `... held_cores COUNT FILE`. So its autoscaler brings them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import ray

from kinetics_pipeline.workflows.runtime.cluster import connected


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.2)


def main(count: int, file: Path) -> None:
    """Returns once the file is there."""
    with connected():
        task = ray.remote(num_cpus=1, max_retries=0)(_wait_for)
        ray.get([task.remote(file) for _ in range(count)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
