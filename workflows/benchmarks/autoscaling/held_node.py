"""Holds a node of an autoscaled cluster as a build does whose files lie there: `... held_node SECONDS`."""

from __future__ import annotations

import sys
import time

import ray

from kinetics_pipeline.workflows.building.nodes import named_nodes, this_node
from kinetics_pipeline.workflows.building.placement.holds import Holds
from kinetics_pipeline.workflows.runtime.cluster import connected


def main(seconds: float) -> int:
    """1 when the node was gone while it was held."""
    with connected():
        began, here = time.monotonic(), this_node()

        def tell(line: str) -> None:
            print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

        node = ray.get(ray.remote(num_cpus=1)(this_node).remote())
        tell("a node came, ran a task and has nothing more to do")
        holds = Holds(here)
        kept = time.monotonic()
        while time.monotonic() - kept < seconds:
            holds.keep({node}, named_nodes())
            if node not in named_nodes():
                tell("FAULT: the node was taken")
                return 1
            time.sleep(1)
        tell(f"the node was held for {seconds:.0f} s and is there; now it is let go")
        holds.keep((), named_nodes())
        while node in named_nodes() and time.monotonic() - kept < seconds + 90:
            time.sleep(0.5)
        tell("the node is gone" if node not in named_nodes() else "the node is still there")
        return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
