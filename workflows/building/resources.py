"""Stage -> resources: what Ray sets aside for each kind of work of a build. The one place that says so.

Ray counts cores as numbers that tasks ask for; it binds nobody to one. What waits for a network or a disk asks for
nothing, so that it runs beside clips on a node whose cores are all taken. A clip asks for a little less than a core:
what is left is for the hold, which would otherwise take a whole core from the clips of its node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

GPU_THREADS = 4
"""Clips that one GPU works on at a time: one on the device, the others decoding before and encoding behind it."""
HOLD = 0.01
"""Share of a core that keeps a node alive."""
CORE = 1 - HOLD
"""What a clip asks for where it is to have a core."""

STARTS_WITHIN = 60.0
"""Seconds that are waited for a core or a GPU in any case, however short `--max-wait` is: a process has to start, and
somebody else may have it. `auto` waits no longer for a GPU."""


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage takes."""

    cores: float
    gpus: float
    worker: str
    """What runs: a task for each piece of work, or an actor that stays."""
    node: str
    """Where it runs."""

    def options(self, **more: Any) -> dict[str, Any]:
        """The options of `ray.remote`."""
        return {"num_cpus": self.cores, **({"num_gpus": self.gpus} if self.gpus else {}), **more}


Stage = Literal["fetch", "archives", "clip", "clip_on_gpu", "write", "files", "hold", "probe", "probe_on_gpu"]

TABLE: dict[Stage, Resources] = {
    "fetch": Resources(0, 0, "an actor a node, downloads in child processes", "the node of the video"),
    "archives": Resources(0, 0, "an actor a node", "the node of the archive"),
    "clip": Resources(CORE, 0, "a task a clip", "any; if possible the one with the clip's archive"),
    "clip_on_gpu": Resources(GPU_THREADS * CORE, 1, f"an actor a GPU, with {GPU_THREADS} clips", "any with a GPU"),
    "write": Resources(0, 0, "a task a shard", "if possible the one with most of the rows"),
    "files": Resources(0, 0, "a task: measure, copy, remove", "the one with the files"),
    "hold": Resources(HOLD, 0, "an actor, while files are needed", "the one with the files"),
    "probe": Resources(CORE, 0, "a task a build", "any"),
    "probe_on_gpu": Resources(0, 1, "a task a node", "each with a GPU; none: the first that comes"),
}
"""`clip_on_gpu` asks for fewer cores where the nodes with GPUs have fewer (see `gpus`)."""
