"""A small set of videos with annotations, and the real `build` command over it, watched from outside."""

from __future__ import annotations

import contextlib
import csv
import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from kinetics_pipeline.dataset.dataset import Dataset
from tests.builders.staying_driver import StayingDriver
from tests.builders.videos import Motion, render
from tests.fake_youtube import FileServer

CLASSES: tuple[Motion, ...] = ("left", "right", "turn", "grow")
FLAGS = ("--short-side", "32", "--flow-backend", "cpu", "--clips-per-shard", "4")
CLIPS = 16
"""Good ones; two more rows fail."""


@dataclass(frozen=True)
class Pile:
    """A folder of one-second videos, and the file that asks for their clips."""

    folder: Path
    annotations: Path
    clip_ids: tuple[str, ...]


def make_pile(folder: Path) -> Pile:
    """`CLIPS` good clips in four classes, one video that does not exist, one clip past its video's end. What is there
    already stays."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(CLIPS):
        video, motion = f"clip_{number:06d}", CLASSES[number % len(CLASSES)]
        if not (file := videos / f"{video}.mp4").exists():
            render(file, width=64, height=48, seconds=1.2, motion=motion, speed=1.5, seed=number)
        rows.append((motion, video, 0, 1, "train"))
    rows.append(("left", "absent_0000", 0, 1, "train"))
    rows.append(("right", "clip_000001", 30, 31, "train"))
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        csv.writer(out).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *rows])
    return Pile(videos, annotations, tuple(f"{v}_{s:06d}_{e:06d}" for _, v, s, e, _ in rows))


@dataclass
class Build:
    """One dataset and its cache, built by the command line in a process of its own."""

    pile: Pile
    folder: Path
    source: Sequence[str]
    flags: Sequence[str] = FLAGS
    environment: dict[str, str] = field(default_factory=dict)
    cluster: ClassVar[dict[str, str]] = {"RAY_ADDRESS": ""}
    """The environment of every build: without an address each embeds Ray (see `on_one_cluster`)."""
    driver: ClassVar[StayingDriver | None] = None
    """Runs the builds that nobody watches or disturbs, when it is there; without it each is a process of its own."""

    @property
    def output(self) -> Path:
        return self.folder / "dataset"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def command(self) -> list[str]:
        sources = [word for source in self.source for word in ("--source", source)]
        places = ["--output", str(self.output), "--cache", str(self.cache)]
        return [sys.executable, "-m", "workflows", "build", str(self.pile.annotations), *sources, *places, *self.flags]

    def start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, **self.cluster, **self.environment}
        return subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def end(self, driver: StayingDriver | None = None) -> tuple[int, str]:
        """The whole command: its exit code and what it said. `driver`: in the place of that of all builds."""
        driver = driver or self.driver
        if driver is not None and not self.environment:
            return driver.run(self.command[3:])
        process = self.start()
        said, _ = process.communicate(timeout=800)
        return process.returncode, said

    def run(self, driver: StayingDriver | None = None) -> str:
        """The whole command; what it said. Fails unless it ends with 0."""
        code, said = self.end(driver)
        assert code == 0, said
        return said

    def spooled(self) -> dict[str, Path]:
        """The clips that are finished and not committed, by clip_id."""
        found = map(Path, glob.glob(f"{self.cache}/*/spool/*.clip"))  # unlike pathlib's, lets folders vanish meanwhile
        return {path.name[: -len(".00000000.clip")]: path for path in found}

    def markers(self) -> list[Path]:
        return sorted((self.output / "shards").glob("*.json"))

    def hashes(self) -> dict[str, str | None]:
        """SHA-256 of every shard's data, by shard, as the markers say and the bytes confirm."""
        import hashlib

        found = {}
        for path in self.markers():
            marker = json.loads(path.read_text())
            data = path.with_suffix(".parquet")
            found[marker["shard"]] = hashlib.sha256(data.read_bytes()).hexdigest() if data.exists() else None
            assert found[marker["shard"]] == marker["sha256"]
        return found

    def entries(self) -> dict[str, list[dict[str, Any]]]:
        """All records of all markers, by clip_id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path in self.markers():
            for entry in json.loads(path.read_text())["clips"]:
                found.setdefault(entry["clip_id"], []).append(entry)
        return found

    def leftovers(self) -> list[Path]:
        """Files that a finished build should not have left: all in the cache but the log, strange ones in OUT."""
        known = ("README.md", "dataset.json", "reconciliation.json", "plans/", "shards/", "state/")
        mine = [path for path in self.output.rglob("*") if path.is_file()]
        strange = [
            path
            for path in mine
            if path.name.startswith(".") or not str(path.relative_to(self.output)).startswith(known)
        ]
        cached = [path for path in self.cache.rglob("*") if path.is_file()]
        return strange + [path for path in cached if path.relative_to(self.cache).parts[0] != "log"]

    def require_finished(self, undisturbed: Build | None = None) -> None:
        """Every clip exactly once, nothing left over, and the bytes of the undisturbed build."""
        entries = self.entries()
        assert sorted(entries) == sorted(self.pile.clip_ids)
        assert {clip: len(records) for clip, records in entries.items()} == dict.fromkeys(self.pile.clip_ids, 1)
        assert self.leftovers() == []
        assert "\nClips: " in (self.output / "README.md").read_text()
        assert Dataset.open(self.output).counts().ok == CLIPS
        if undisturbed is not None:
            assert self.hashes() == undisturbed.hashes()


def refusal(said: str) -> str:
    """The one line that a refused build says; on a busy machine it may have waited for a core before, and said so."""
    [line] = [line for line in said.splitlines() if not line.startswith("waiting for a core: ")]
    return line


def wait_for(event: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 600) -> None:
    """Waits for `event()`; fails when the process ends first or time runs out."""
    deadline = time.monotonic() + seconds
    while not event():
        assert process.poll() is None, f"it ended before the event: {process.stdout and process.stdout.read()}"
        assert time.monotonic() < deadline, "the event did not come"
        time.sleep(0.01)


def asked_videos(server: FileServer) -> list[str]:
    """The videos whose files were asked for, once for each request."""
    return [request.video_id for request in server.media() if request.video_id]


def texts_in(*folders: Path) -> str:
    """Names and bytes of every file below `folders`. Files and folders may come and go meanwhile (`rglob` may not)."""
    found = ""
    for folder, _, names in (step for top in folders for step in os.walk(top)):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += f"{name}\n{(Path(folder) / name).read_bytes().decode('latin1')}"
    return found
