"""A round whose downloads wait on nodes that have nothing else to do: the autoscaler must leave those nodes alone."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from kinetics_pipeline.workflows.benchmarks.autoscaling.cluster import HEAD
from kinetics_pipeline.workflows.benchmarks.autoscaling.rounds import (
    GONE_WITHIN,
    IDLE_SECONDS,
    LONGEST,
    Followed,
    Ground,
    teller,
)
from kinetics_pipeline.workflows.benchmarks.local_cluster import running
from kinetics_pipeline.workflows.demo.server import serving

CPU_NODES = 2
SLOW = 10.0
"""Seconds that the GPU takes for a clip, four at a time: so downloads wait for longer than an idle node is left."""
TITLE = "downloads on nodes without work, which wait for the GPU"


def play_downloads(ground: Ground) -> None:
    """Nodes come for other work and go idle with downloads on them, which the only GPU needs one after the other."""
    print(f"\n== {TITLE}", flush=True)
    ground.set_gpus(compute=True, slow=SLOW)
    notes, let_go = ground.folder / "notes", ground.folder / "let_go"
    notes.touch()
    tell = teller()
    environment = {**os.environ, **ground.cluster.environment}
    holder = [sys.executable, "-m", f"{__package__}.held_cores", str(CPU_NODES), str(let_go)]
    with (
        serving(ground.videos, ground.folder / "requests") as server,
        Followed(ground.cluster, tell) as followed,
        running(holder, environment),
    ):
        while ground.cluster.nodes().get("cpu", 0) < CPU_NODES and followed.seconds < LONGEST / 2:
            time.sleep(0.5)
        command = [sys.executable, "-m", f"{__package__}.watched_build", str(notes)]
        command += ["build", str(ground.annotations), "--source", server.template, "--flow-backend", "cuda"]
        command += ["--output", str(ground.folder / "four"), "--cache", str(ground.folder / "cache")]
        command += ["--short-side", "48", "--clips-per-shard", "64"]
        idle_since = [0.0]

        def look() -> None:
            if not idle_since[0] and len(_needed(notes).keys() - {HEAD}) >= CPU_NODES:
                let_go.touch()
                idle_since[0] = time.time()
                tell("the other work has ended: the nodes have downloads, and nothing to do")

        followed.look = look
        code, _ = ground.told(command, tell)
        let_go.touch()
        ground.await_none()
    told, faults = _judged(_needed(notes), followed, idle_since[0])
    faults += [] if code == 0 else [f"exit {code}, not 0"]
    faults += [f"nodes are left: {left}"] if (left := ground.cluster.nodes()) else []
    ground.note(TITLE, followed, str(code), told, faults)


def _needed(notes: Path) -> dict[str, float]:
    """Node -> Unix time at which the last clip of its downloads was processed; infinity while one is not."""
    node_of: dict[str, str] = {}
    until: dict[str, float] = {}
    done: dict[str, float] = {}
    for line in notes.read_text().splitlines():
        note = json.loads(line)
        for clip in note["clips"]:
            if note["event"] == "fetched":
                node_of[clip] = note["node"]
            else:
                done[clip] = note["time"]
    for clip, node in node_of.items():
        until[node] = max(until.get(node, 0.0), done.get(clip, float("inf")))
    return until


def _judged(needed: dict[str, float], followed: Followed, idle_since: float) -> tuple[list[str], list[str]]:
    """What is to be seen of it, and what is not as expected."""
    kept, faults = [], []
    for node, until in needed.items():
        if node == HEAD or followed.kind_of.get(node) != "cpu":
            continue
        gone = followed.gone.get(node, float("inf"))
        kept.append(until - idle_since)
        if gone < until:
            faults.append(f"a node was taken {until - gone:.0f} s before its downloads were processed")
        elif gone - until > GONE_WITHIN:
            faults.append("a node was not let go once its downloads were processed")
    if len(kept) < CPU_NODES or max(kept) < IDLE_SECONDS + 5:
        faults.append(f"it shows nothing: downloads waited for {[round(one) for one in kept]} s on idle nodes")
    waits = " and ".join(f"{one:.0f} s" for one in sorted(kept))
    return [f"idle nodes kept {waits} for their downloads (idle time {IDLE_SECONDS:.0f} s), then let go"], faults
