"""The builds on an autoscaled cluster, in the order in which they are made, and what each has to show."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.autoscaling.cluster import Autoscaled, Kind

KINDS = {"cpu": Kind(1, 0, most=2), "gpu": Kind(1, 1, most=1)}
IDLE_SECONDS = 15.0
"""Longer than a build takes to start, so that it finds the nodes of the one before."""
VIDEOS = 12
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
    slow: float = 0.0
    """Seconds that a clip takes longer."""
    keeps: str = ""
    """A type of node that has to be there still when the build ends."""
    same_as: str = ""
    """The name of a dataset of an earlier round, whose data files must have the same bytes."""


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
        says=["the cluster has no GPU for flow on cuda: its autoscaler", f"{VIDEOS} clips in"],
        backend="cuda",
        brings=["gpu"],
        keeps="gpu",
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
        slow=4.0,
        same_as="one",
    ),
)


@dataclass(frozen=True)
class Shown:
    """What a round came to: a row of the table."""

    title: str
    first_node: float | None
    """Seconds until a node ran."""
    most: str
    """Nodes at a time."""
    code: str
    told: str
    """What else is to be seen in it."""
    faults: int


@dataclass
class Ground:
    """What the rounds share."""

    cluster: Autoscaled
    folder: Path
    annotations: Path
    videos: Path
    faults: list[str] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)

    def play(self, one: Round) -> None:
        """One round, told on stdout."""
        print(f"\n== {one.title}", flush=True)
        self.set_gpus(compute=one.gpus_compute, slow=one.slow)
        tell = teller()
        with Followed(self.cluster, tell) as followed:
            code, said = self._build(one, tell, followed)
            left = self.cluster.nodes()
            if one.goes_down:
                self.await_none()
        told, faults = self._judge(one, code, said, followed)
        if one.keeps and one.keeps not in left:
            faults.append(f"no node of type {one.keeps} is left at the end of the build")
        told += [f"{one.keeps} node there to the end"] if one.keeps else []
        told += ["no node afterwards"] if one.goes_down else []
        self.note(one.title, followed, str(code), told, faults)

    def set_gpus(self, *, compute: bool, slow: float = 0.0) -> None:
        """Whether GPUs compute from now on, and how many seconds more than the flow takes."""
        if compute:
            self.cluster.switch.touch()
        else:
            self.cluster.switch.unlink(missing_ok=True)
        self.cluster.slow.write_text(str(slow))

    def await_none(self) -> None:
        """Waits until no node is left, or `GONE_WITHIN` is over."""
        deadline = time.monotonic() + GONE_WITHIN
        while self.cluster.nodes() and time.monotonic() < deadline:
            time.sleep(0.5)

    def note(self, title: str, followed: Followed, code: str, told: Sequence[str], faults: Sequence[str]) -> None:
        """Puts a round into the table."""
        print("   as expected" if not faults else "\n".join(f"   FAULT: {fault}" for fault in faults), flush=True)
        self.faults += [f"{title}: {fault}" for fault in faults]
        most = ", ".join(f"{count} {kind}" for kind, count in sorted(followed.most.items()))
        self.shown.append(Shown(title, followed.first, most, code, "; ".join(told), len(faults)))

    def play_hold(self) -> None:
        """A node where files are needed, and nothing else is, outlasts the idle time until they no longer are."""
        title = "a node with files that are needed"
        print(f"\n== {title}", flush=True)
        words = [sys.executable, "-m", f"{__package__}.held_node", str(2 * IDLE_SECONDS)]
        with Followed(self.cluster, teller()) as followed:
            said = subprocess.run(
                words, env={**os.environ, **self.cluster.environment}, check=False, text=True, stdout=subprocess.PIPE
            )
            print(said.stdout, end="")
            self.await_none()
        faults = ["the node was taken although its files were needed"] if said.returncode else []
        faults += ["a node is left although its files are no longer needed"] if self.cluster.nodes() else []
        told = [f"held {2 * IDLE_SECONDS:.0f} s, with {IDLE_SECONDS:.0f} s as idle time; then let go"]
        self.note(title, followed, str(said.returncode), told, faults)

    def _build(self, one: Round, tell: Callable[[str], None], followed: Followed) -> tuple[int, str]:
        output = self.folder / one.name
        command = [
            *(sys.executable, "-m", "kinetics_pipeline.workflows", "build", str(self.annotations)),
            *("--source", str(self.videos), "--output", str(output), "--cache", str(self.folder / "cache")),
            *("--short-side", "48", "--clips-per-shard", "2", *one.flags),
        ]
        tell("$ build " + " ".join(one.flags))
        if one.kills:
            followed.kill_when(one.kills, lambda: bool(glob(f"{self.folder}/cache/*/spool/*.clip")))
        return self.told(command, tell)

    def told(self, command: Sequence[str], tell: Callable[[str], None]) -> tuple[int, str]:
        """The exit code of a build, and what it said, told line by line. It is ended after `LONGEST`."""
        said: list[str] = []
        environment = {**os.environ, **self.cluster.environment}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            timer = threading.Timer(LONGEST, process.kill)
            timer.start()
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                tell(line.rstrip())
            code = process.wait()
            timer.cancel()
        tell(f"exit {code}")
        return code, "".join(said)

    def _judge(self, one: Round, code: int, said: str, followed: Followed) -> tuple[list[str], list[str]]:
        """What is to be seen of it, and what is not as expected."""
        faults = [] if code == one.code else [f"exit {code}, not {one.code}"]
        faults += [f"it does not say {part!r}" for part in one.says if part not in said]
        faults += [f"no node of type {kind} ran" for kind in one.brings if kind not in followed.seen]
        if one.goes_down and (left := self.cluster.nodes()):
            faults.append(f"nodes are left: {left}")
        head = self.folder / one.name / "dataset.json"
        backend = json.loads(head.read_text())["recipe"]["flow_backend"] if head.exists() else None
        if backend != one.backend:
            faults.append(f"the recipe's flow backend is {backend}, not {one.backend}")
        told = [f"flow on {backend}" if backend is not None else "no dataset begun"]
        if one.kills:
            told.append(f"a {one.kills} node killed")
            faults += [] if followed.killed else ["no node was killed"]
        if one.same_as:
            same = self.data_of(one.name) == self.data_of(one.same_as)
            told += ["the bytes of the build before"] if same else []
            faults += [] if same else [f"its data files are not those of the dataset {one.same_as}"]
        return told, faults

    def data_of(self, name: str) -> dict[str, str]:
        """Name -> SHA-256 of the data files of a dataset; empty where it has none."""
        files = sorted((self.folder / name / "shards").glob("*.parquet"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def teller() -> Callable[[str], None]:
    """Prints a line with the seconds since it was made."""
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    return tell


class Followed:
    """Tells whenever the nodes of the cluster are others than before."""

    def __init__(self, cluster: Autoscaled, tell: Callable[[str], None]) -> None:
        self.cluster, self.tell = cluster, tell
        self.seen: set[str] = set()
        """Types of nodes that ran."""
        self.first: float | None = None
        """Seconds until one ran."""
        self.most: Counter[str] = Counter()
        """Nodes of each type at a time."""
        self.gone: dict[str, float] = {}
        """Id -> Unix time at which a node was no longer there."""
        self.kind_of: dict[str, str] = {}
        """Id -> type of all nodes that ran."""
        self._began = time.monotonic()
        self.killed = False
        self._kills = ""
        self._when: Callable[[], bool] = bool
        self.look: Callable[[], None] = lambda: None
        """Called at each look at the nodes."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def kill_when(self, kind: str, when: Callable[[], bool]) -> None:
        """Kills a node of this type once."""
        self._kills, self._when = kind, when

    def _follow(self) -> None:
        before: dict[str, str] | None = None
        while not self._ended.wait(0.25):
            running = self.cluster.running()
            now = Counter(running.values())
            if running and self.first is None:
                self.first = time.monotonic() - self._began
            self.seen |= now.keys()
            self.kind_of |= running
            self.most |= now
            if running != before:
                self.gone |= dict.fromkeys((before or {}).keys() - running.keys(), time.time())
                before = running
                self.tell("nodes: " + (", ".join(f"{count} {kind}" for kind, count in sorted(now.items())) or "none"))
            self.look()
            if self._kills in now and self._when():
                self.cluster.kill_node(self._kills)
                self.tell(f"a node of type {self._kills} was killed")
                self.killed, self._kills = True, ""

    def __enter__(self) -> Followed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def make_ground(cluster: Autoscaled, folder: Path) -> Ground:
    """The videos, and the annotations that ask for a clip of each."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    names = [f"scaled{number:05d}" for number in range(VIDEOS)]
    for name in names:
        picture = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=3"]
        flags = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
        subprocess.run([executable(), "-v", "error", "-y", *picture, *flags, str(videos / f"{name}.mp4")], check=True)
    annotations = folder / "clips.csv"
    with annotations.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows(["moving", name, 0, 2, "train"] for name in names)
    return Ground(cluster, folder, annotations, videos)
