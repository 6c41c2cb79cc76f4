"""Archives from afar: does fetching hide behind the work, how much disk does it take, and what does a kill cost?

    python -m workflows.benchmarks.archives [links | disk | kills | nodes] [--archives N] [--kills K]

The real `build` over a public copy on loopback, whose link has a given speed:

    links   the link gives 0.5, 1 and 2 times the bytes a second that processing takes: total time against the larger
            of link time and processing time; at most 1.15 is wanted
    disk    200 small archives: the most that the cache held, against downloading and unpacking all of them for a
            folder source; under a tenth is wanted
    kills   a build killed K times at random: no byte before the offset is asked for again, no finished archive at
            all, the cache stays under --max-disk, and the data files are those of an undisturbed build
    nodes   a cluster of three nodes that share no disk: each archive is asked for once and lies on one node, and each
            node has some
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.local_cluster import several_nodes
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed, served
from kinetics_pipeline.workflows.runtime.progress import size

LINKS = (0.5, 1.0, 2.0)
WANTED_RATIO, WANTED_DISK = 1.15, 0.1
VIDEOS = 2
"""Videos of one archive."""
SECONDS = 2
PADDING = 300_000
"""Bytes behind each video, which no decoder reads, so that archives have a size worth waiting for."""
FLAGS = ("--flow", "none", "--short-side", "128", "--clips-per-shard", "4")
LOOK_EVERY = 0.05
NODES = 3


@dataclass(frozen=True)
class ArchiveResult:
    """What one build took."""

    wall: float
    """Seconds from the first archive that was asked for to the last shard."""
    peak: int
    """The most bytes that the cache was seen to hold."""


def video(folder: Path) -> bytes:
    path = folder / "video.mp4"
    source = f"testsrc2=size=320x240:rate=25:duration={SECONDS}"
    command = [executable(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "veryfast"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-y", str(path)], check=True)
    return path.read_bytes()


def fill(server: LoopbackArchives, folder: Path, archives: int) -> Path:
    """Archives of `VIDEOS` videos each, the list of them, and the annotation file that asks for all."""
    film = video(folder)
    rows = [("label", "youtube_id", "time_start", "time_end", "split")]
    for number in range(archives):
        names = [f"bench{number:04d}{n}" for n in range(VIDEOS)]
        rows += [("abc"[number % 3], name, "0", str(SECONDS), "train") for name in names]
        chance = random.Random(number)  # noqa: S311
        server.files[f"/k/part_{number}.tar.gz"] = packed(
            {f"{name}_000000_{SECONDS:06d}.mp4": film + _free_box(chance.randbytes(PADDING)) for name in names}
        )
    server.files["/k/list.txt"] = "".join(f"{server.base}{path}\n" for path in server.archives()).encode()
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return annotations


def _free_box(content: bytes) -> bytes:
    """A box of an MP4 that says nothing (ISO/IEC 14496-12, 8.1.2)."""
    return (len(content) + 8).to_bytes(4, "big") + b"free" + content


def command(server: LoopbackArchives, annotations: Path, folder: Path, *flags: str) -> list[str]:
    places = ["--output", str(folder / "dataset"), "--cache", str(folder / "cache")]
    source = ["--source", f"{server.base}/k/list.txt"]
    return [
        sys.executable,
        "-m",
        "kinetics_pipeline.workflows",
        "build",
        str(annotations),
        *places,
        *source,
        *FLAGS,
        *flags,
    ]


def build(server: LoopbackArchives, annotations: Path, folder: Path, *flags: str) -> ArchiveResult:
    """One whole build. Raises SystemExit where it fails."""
    server.forget()
    folder.mkdir()
    with watched(folder / "cache") as seen:
        said = subprocess.run(command(server, annotations, folder, *flags), capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"a build ended with {said.returncode}: {said.stderr[-2000:]}")
    began = min(when for path, when in server.first.items() if path != "/k/list.txt")
    markers = (folder / "dataset/shards").glob("*.json")
    ended = max(path.stat().st_mtime for path in markers) - time.time() + time.monotonic()
    return ArchiveResult(ended - began, seen[0])


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """The most bytes that a folder holds within the block."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY):
            most[0] = max(most[0], bytes_below(folder))

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


def links(folder: Path, archives: int, console: Console) -> bool:
    with served() as server:
        annotations = fill(server, folder, archives)
        total = sum(map(len, server.archives().values()))
        flags = ("--archives-per-plan", "2")
        build(server, annotations, folder / "first", *flags)  # what is read for the first time is read slowly
        alone = build(server, annotations, folder / "alone", *flags).wall
        table = Table("link", "link s", "processing s", "total s", "ratio", box=None)
        good = True
        for share in LINKS:
            server.rate = share * total / alone
            took = build(server, annotations, folder / f"link{share}", *flags).wall
            link = total / server.rate
            ratio = took / max(link, alone)
            good &= ratio <= WANTED_RATIO
            table.add_row(f"{share:g} x", f"{link:.1f}", f"{alone:.1f}", f"{took:.1f}", f"{ratio:.2f}")
    console.print(table)
    return good


def disk(folder: Path, archives: int, console: Console) -> bool:
    with served() as server:
        annotations = fill(server, folder, archives)
        took = build(server, annotations, folder / "build")
        packed_bytes = sum(map(len, server.archives().values()))
    unpacked = archives * VIDEOS * (PADDING + (folder / "video.mp4").stat().st_size)
    share = took.peak / (packed_bytes + unpacked)
    console.print(
        f"{archives} archives of {size(packed_bytes)}: the cache held at most {size(took.peak)}; all of them and what "
        f"is in them take {size(packed_bytes + unpacked)}: {share:.1%}"
    )
    return share < WANTED_DISK


def kills(folder: Path, archives: int, count: int, seed: int, console: Console) -> bool:
    chance = random.Random(seed)  # noqa: S311
    with served() as server:
        annotations = fill(server, folder, archives)
        build(server, annotations, folder / "undisturbed", "--archives-per-plan", "2")
        server.forget()
        server.rate = sum(map(len, server.archives().values())) / 20
        (folder / "killed").mkdir()
        flags = ("--archives-per-plan", "2", "--max-disk", "40MB")
        done = 0
        with watched(folder / "killed/cache") as seen:
            while True:
                run = subprocess.Popen(
                    command(server, annotations, folder / "killed", *flags),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                if done == count or not goes_on(run, server, folder / "killed", chance.uniform(0.0, 4.0)):
                    code = run.wait()
                    break
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                done += 1
        again = asked_again(server)
    same = data_files(folder / "killed") == data_files(folder / "undisturbed")
    console.print(
        f"{done} kills, exit code {code}; {len(again)} bytes or archives asked for again {again[:3]}; the cache held "
        f"at most {size(seen[0])} of 40 MB; data files {'equal' if same else 'OTHERS'}"
    )
    return code == 0 and not again and seen[0] <= 40e6 and same


def nodes(folder: Path, archives: int, console: Console) -> bool:
    seen: list[set[str]] = [set() for _ in range(NODES)]
    disks, cache = folder / "disks", folder / "build" / "cache"
    cache.mkdir(parents=True)
    with served() as server:
        annotations = fill(server, folder, archives)
        with several_nodes(NODES, private=(disks, cache)) as cluster:
            run = subprocess.Popen(
                command(server, annotations, folder / "build", "--archives-per-plan", "3"),
                env={**os.environ, **cluster.environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while run.poll() is None:
                for number, keys in enumerate(seen):
                    keys |= {path.name for path in (disks / str(number)).glob("*/archives/*")}
                time.sleep(LOOK_EVERY)
        asked = [path for path, _ in server.gets if path in server.archives()]
    console.print(
        f"exit code {run.returncode}; {len(asked)} requests for {archives} archives; on the nodes lay "
        f"{', '.join(str(len(keys)) for keys in seen)} of them"
    )
    once = sorted(asked) == sorted(server.archives())
    return run.returncode == 0 and once and all(seen) and sum(map(len, seen)) == archives


def goes_on(run: subprocess.Popen[bytes], server: LoopbackArchives, folder: Path, seconds: float) -> bool:
    """Whether a build is still at work so many seconds after it was seen to ask for an archive or commit a shard."""
    archives = len(server.gets) + 1  # the list comes first
    shards = len(data_names(folder))
    while run.poll() is None and len(server.gets) <= archives and len(data_names(folder)) == shards:
        time.sleep(LOOK_EVERY)
    time.sleep(seconds)
    return run.poll() is None


def asked_again(server: LoopbackArchives) -> list[str]:
    """Archives of which an offset was asked for that had been passed: each request begins where nothing came yet."""
    wrong = []
    for path in server.archives():
        offsets = server.asked(path)
        if offsets != sorted(offsets) or len([begin for begin in offsets if begin == 0]) > 1:
            wrong.append(f"{path} from {offsets}")
    return wrong


def data_names(folder: Path) -> list[Path]:
    return list((folder / "dataset/shards").glob("*.parquet"))


def data_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data_names(folder)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("links", "disk", "kills", "nodes"), default="links")
    parser.add_argument("--archives", type=int, help="default: 24, for disk 200, for kills 12, for nodes 9")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as place:
        if words.what == "links":
            good = links(Path(place), words.archives or 24, console)
        elif words.what == "disk":
            good = disk(Path(place), words.archives or 200, console)
        elif words.what == "nodes":
            good = nodes(Path(place), words.archives or 9, console)
        else:
            good = kills(Path(place), words.archives or 12, words.kills, words.seed, console)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
