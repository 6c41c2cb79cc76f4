"""What every measurement of archives needs: a copy to build from, the command, and how much its cache holds."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed
from kinetics_pipeline.workflows.building.watch.event_log import NAME

VIDEOS = 2
"""Videos of one archive, where not told otherwise."""
SECONDS = 2
PADDING = 300_000
"""Bytes behind each video, which no decoder reads, so that archives have a size worth waiting for."""
FLAGS = ("--flow", "none", "--short-side", "128", "--clips-per-shard", "4")
LOOK_EVERY = 0.05


@dataclass(frozen=True)
class BenchCopy:
    """A copy to build from."""

    server: LoopbackArchives
    words: tuple[str, ...]
    """The annotations and sources of `build`."""
    damaged: frozenset[str] = frozenset()
    """Paths of archives that are not what they should be: they may be asked for again."""


@dataclass(frozen=True)
class ArchiveResult:
    """What one build took."""

    wall: float
    """Seconds from the first archive that was asked for to the last shard."""
    processing: float
    """Seconds of these in which a plan was under way, whose archives were all there: what processing alone takes, on a
    machine as busy as it was."""
    before: float
    """Seconds from the first archive that was asked for to the first plan."""
    peak: int
    """The most bytes that the cache was seen to hold."""


def video(folder: Path) -> bytes:
    path = folder / "video.mp4"
    source = f"testsrc2=size=320x240:rate=25:duration={SECONDS}"
    command = [executable(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "veryfast"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-y", str(path)], check=True)
    return path.read_bytes()


def fill(server: LoopbackArchives, folder: Path, archives: int, videos: int = VIDEOS) -> BenchCopy:
    """Archives of so many videos each, a list of them, and an annotation file that asks for all."""
    film = video(folder)
    rows = [("label", "youtube_id", "time_start", "time_end", "split")]
    for number in range(archives):
        names = [f"bench{number:04d}{n}" for n in range(videos)]
        rows += [("abc"[number % 3], name, "0", str(SECONDS), "train") for name in names]
        chance = random.Random(number)  # noqa: S311
        server.files[f"/k/part_{number}.tar.gz"] = packed(
            {f"{name}_000000_{SECONDS:06d}.mp4": film + free_box(chance.randbytes(PADDING)) for name in names}
        )
    server.files["/k/list.txt"] = "".join(f"{server.base}{path}\n" for path in server.archives()).encode()
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return BenchCopy(server, (str(annotations), "--source", f"{server.base}/k/list.txt"))


def free_box(content: bytes) -> bytes:
    """A box of an MP4 that says nothing (ISO/IEC 14496-12, 8.1.2)."""
    return (len(content) + 8).to_bytes(4, "big") + b"free" + content


def command(copy: BenchCopy, folder: Path, *flags: str) -> list[str]:
    program = [sys.executable, "-m", "kinetics_pipeline.workflows", "build"]
    places = ["--output", str(folder / "dataset"), "--cache", str(folder / "cache")]
    return [*program, *copy.words, *places, *FLAGS, *flags]


def build(copy: BenchCopy, folder: Path, *flags: str) -> ArchiveResult:
    """One whole build. Raises SystemExit where it fails."""
    copy.server.forget()
    folder.mkdir()
    with watched(folder / "cache") as seen:
        said = subprocess.run(command(copy, folder, *flags), capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"a build ended with {said.returncode}: {said.stderr[-2000:]}")
    began = min(when for path, when in copy.server.first.items() if path in copy.server.archives())
    markers = (folder / "dataset/shards").glob("*.json")
    began += time.time() - time.monotonic()
    ended = max(path.stat().st_mtime for path in markers)
    plans = plan_times(folder / "cache")
    processing = sum(last - begun for begun, last in plans)
    return ArchiveResult(ended - began, processing, plans[0][0] - began, seen[0])


def plan_times(cache: Path) -> list[tuple[float, float]]:
    """When each plan began and had its last shard, by the log of one build (seconds since 1970)."""
    (log,) = (cache / "log").rglob(NAME)
    found: list[tuple[float, float]] = []
    for line in map(json.loads, log.read_text().splitlines()):
        when = datetime.fromisoformat(line["time"]).timestamp()
        if line["event"] == "begun":
            found.append((when, when))
        elif line["event"] == "committed":
            found[-1] = (found[-1][0], when)
    return found


@contextmanager
def started(
    words: Sequence[str], said: Path, environment: Mapping[str, str] | None = None, *, start_new_session: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is waited for at the end of the block. `said`: the file of what it says."""
    with (
        said.open("wb") as out,
        subprocess.Popen(words, env=environment, stdout=out, stderr=out, start_new_session=start_new_session) as run,
    ):
        yield run


def ending(said: Path) -> str:
    """The last lines of what a command said."""
    return said.read_text(errors="replace")[-2000:]


@contextmanager
def watched(folder: Path, also: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """The most bytes that a folder holds within the block. `also` is called at each look."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY):
            most[0] = max(most[0], bytes_below(folder))
            also()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total


def data_names(folder: Path) -> list[Path]:
    return list((folder / "dataset/shards").glob("*.parquet"))


def data_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data_names(folder)}
