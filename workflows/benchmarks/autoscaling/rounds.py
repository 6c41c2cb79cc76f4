"""The builds on an autoscaled cluster, in the order in which they are made, and what each has to show."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.autoscaling.cluster import Autoscaled, Kind

KINDS = {"cpu": Kind(1, 0, most=2), "gpu": Kind(1, 1, most=1)}
IDLE_SECONDS = 15.0
"""Longer than a build takes to start, so that it finds the nodes of the one before."""
VIDEOS = 6
LONGEST = 240.0
"""Seconds that a build may take."""
GONE_WITHIN = 60.0
"""Seconds within which nodes are taken that have nothing to do."""


@dataclass
class Round:
    """A build, and what is expected of it."""

    title: str
    flags: Sequence[str]
    code: int
    says: Sequence[str]
    """What it has to say, as parts of lines."""
    backend: str | None
    """The flow backend of the recipe afterwards; None: there is no dataset."""
    name: str = "one"
    """The name of its dataset."""
    gpus_compute: bool = True
    kills: str = ""
    """A type of node, of which one is killed once the build has finished a clip."""
    brings: Sequence[str] = ()
    """Types of nodes that have to have run meanwhile."""
    goes_down: bool = False
    """Whether it is waited until all nodes are gone."""


ROUNDS = (
    Round(
        "cuda from no worker at all, and the GPU that comes has no driver",
        ["--flow-backend", "cuda"],
        code=1,
        says=[
            "the cluster has no GPU for flow on cuda: its autoscaler",
            "flow on cuda: node",
            "there is no NVIDIA driver",
        ],
        backend=None,
        gpus_compute=False,
        brings=["gpu"],
    ),
    Round(
        "auto beside that GPU: a line, and the cores",
        [],
        code=0,
        says=["a GPU is not used: node", "flow on cpu, for the whole dataset", "--flow-backend cuda asks for GPUs"],
        backend="cpu",
        name="two",
        gpus_compute=False,
        brings=["cpu"],
        goes_down=True,
    ),
    Round(
        "cuda for the dataset of the first round, from no worker at all",
        ["--flow-backend", "cuda"],
        code=0,
        says=["its autoscaler brings 1 gpu", f"{VIDEOS} clips in"],
        backend="cuda",
        brings=["gpu"],
    ),
    Round(
        "cuda, and its node is killed in the middle",
        ["--flow-backend", "cuda"],
        code=0,
        says=[f"{VIDEOS} clips in"],
        backend="cuda",
        name="three",
        kills="gpu",
        brings=["gpu"],
        goes_down=True,
    ),
)


@dataclass
class Ground:
    """What the rounds share."""

    cluster: Autoscaled
    folder: Path
    annotations: Path
    videos: Path
    faults: list[str] = field(default_factory=list)

    def play(self, one: Round) -> None:
        """One round, told on stdout."""
        print(f"\n== {one.title}", flush=True)
        if one.gpus_compute:
            self.cluster.switch.touch()
        else:
            self.cluster.switch.unlink(missing_ok=True)
        began = time.monotonic()

        def tell(line: str) -> None:
            print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

        with _Followed(self.cluster, tell) as followed:
            code, said = self._build(one, tell, followed)
            if one.goes_down:
                deadline = time.monotonic() + GONE_WITHIN
                while self.cluster.nodes() and time.monotonic() < deadline:
                    time.sleep(0.5)
        self._judge(one, code, said, followed.seen)

    def play_hold(self) -> None:
        """A node where files are needed, and nothing else is, outlasts the idle time until they no longer are."""
        print("\n== a node with files that are needed", flush=True)
        began = time.monotonic()
        words = [sys.executable, "-m", f"{__package__}.held_node", str(2 * IDLE_SECONDS)]
        said = subprocess.run(
            words, env={**os.environ, **self.cluster.environment}, check=False, text=True, stdout=subprocess.PIPE
        )
        print(said.stdout, end="")
        while self.cluster.nodes() and time.monotonic() - began < LONGEST:
            time.sleep(0.5)
        if said.returncode:
            self.faults.append("a node was taken although its files were needed")
        if self.cluster.nodes():
            self.faults.append("a node is left although its files are no longer needed")
        print(f"{time.monotonic() - began:6.1f} s  nodes: {self.cluster.nodes() or 'none'}")

    def _build(self, one: Round, tell: Callable[[str], None], followed: _Followed) -> tuple[int, str]:
        output = self.folder / one.name
        command = [
            *(sys.executable, "-m", "kinetics_pipeline.workflows", "build", str(self.annotations)),
            *("--source", str(self.videos), "--output", str(output), "--cache", str(self.folder / "cache")),
            *("--short-side", "48", "--clips-per-shard", "2", *one.flags),
        ]
        tell("$ build " + " ".join(one.flags))
        said: list[str] = []
        environment = {**os.environ, **self.cluster.environment}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            timer = threading.Timer(LONGEST, process.kill)
            timer.start()
            if one.kills:
                followed.kill_when(one.kills, lambda: bool(glob(f"{self.folder}/cache/*/spool/*.clip")))
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                tell(line.rstrip())
            code = process.wait()
            timer.cancel()
        tell(f"exit {code}")
        return code, "".join(said)

    def _judge(self, one: Round, code: int, said: str, seen: set[str]) -> None:
        faults = [] if code == one.code else [f"exit {code}, not {one.code}"]
        faults += [f"it does not say {part!r}" for part in one.says if part not in said]
        faults += [f"no node of type {kind} ran" for kind in one.brings if kind not in seen]
        if one.goes_down and (left := self.cluster.nodes()):
            faults.append(f"nodes are left: {left}")
        head = self.folder / one.name / "dataset.json"
        backend = json.loads(head.read_text())["recipe"]["flow_backend"] if head.exists() else None
        if backend != one.backend:
            faults.append(f"the recipe's flow backend is {backend}, not {one.backend}")
        print("   as expected" if not faults else "\n".join(f"   FAULT: {fault}" for fault in faults), flush=True)
        self.faults += [f"{one.title}: {fault}" for fault in faults]


class _Followed:
    """Tells whenever the nodes of the cluster are others than before."""

    def __init__(self, cluster: Autoscaled, tell: Callable[[str], None]) -> None:
        self.cluster, self.tell = cluster, tell
        self.seen: set[str] = set()
        """Types of nodes that ran."""
        self._kills = ""
        self._when: Callable[[], bool] = bool
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def kill_when(self, kind: str, when: Callable[[], bool]) -> None:
        """Kills a node of this type once."""
        self._kills, self._when = kind, when

    def _follow(self) -> None:
        before: dict[str, int] | None = None
        while not self._ended.wait(0.25):
            now = self.cluster.nodes()
            self.seen |= now.keys()
            if now != before:
                before = now
                self.tell("nodes: " + (", ".join(f"{count} {kind}" for kind, count in now.items()) or "none"))
            if self._kills in now and self._when():
                self.cluster.kill_node(self._kills)
                self.tell(f"a node of type {self._kills} was killed")
                self._kills = ""

    def __enter__(self) -> _Followed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def make_ground(cluster: Autoscaled, folder: Path) -> Ground:
    """The videos, and the annotations that ask for a clip of each."""
    videos = folder / "videos"
    videos.mkdir()
    names = [f"scaled{number:05d}" for number in range(VIDEOS)]
    for name in names:
        picture = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=3"]
        flags = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
        subprocess.run([executable(), "-v", "error", *picture, *flags, str(videos / f"{name}.mp4")], check=True)
    annotations = folder / "clips.csv"
    with annotations.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows(["moving", name, 0, 2, "train"] for name in names)
    return Ground(cluster, folder, annotations, videos)
