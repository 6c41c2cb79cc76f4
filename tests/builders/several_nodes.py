"""A `ray.cluster_utils.Cluster` in a process of its own: a head that only drives, and nodes of one core each.

python several_nodes.py COUNT [FOLDER CACHE]

With FOLDER each node sees a folder of its own (FOLDER/0, FOLDER/1, ...) at the path CACHE, as machines that share no
disk do: each is started in a mount namespace of its own. With a COUNT of 0 the head has two cores and works itself.
Says {"address", "raylets"} on stdout, a process id for each node, and ends when stdin does.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000


def see_at(mine: Path, path: Path) -> None:
    """Makes `mine` lie at `path`, for this process and those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mine.mkdir(parents=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(mine), str(path)], check=True)


def main(count: int, folder: Path | None, cache: Path | None) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0 if count else 2, "include_dashboard": False})
    raylets = []
    for number in range(count):
        if folder is not None and cache is not None:
            see_at(folder / str(number), cache)
        node = cluster.add_node(num_cpus=1)
        raylets.append(node.all_processes["raylet"][0].process.pid)
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    places = [Path(os.path.abspath(word)) for word in sys.argv[2:]]
    main(int(sys.argv[1]), *(places or (None, None)))
