"""Archives from afar: does fetching hide behind the work, how much disk does it take, and what does a kill cost?

    python -m workflows.benchmarks.archives [links | disk | kills | nodes | published] [--archives N] [--link X]
        [--kills K] [--seed S]

The real `build` over a public copy on loopback, whose link has a given speed:

    links   the link gives 0.5, 1 and 2 times the bytes a second that processing takes: total time against the larger
            of link time and processing time; at most 1.15 is wanted. The total is from the first archive asked for to
            the last shard, so that the start of Ray is not in it; processing is timed in the same run, and so is what
            passes before the first plan and between plans. What cannot
            overlap, the first group's way over the link and the last group's processing, is in the ratio; the last
            column divides by the larger time and one group's share of the smaller, the least that groups allow
    disk    200 small archives: the most that the cache held, against downloading and unpacking all of them for a
            folder source; under a tenth is wanted
    kills   a build killed K times at random: no byte that lay in the cache, also of an archive that was let go, is
            asked for again, the cache stays under --max-disk, and the data files are those of an undisturbed build
    nodes   a cluster of three nodes that share no disk: each archive is asked for once and lies on one node, and each
            node has some
    published  Kinetics-400 by name, from a copy with the published layouts and every damage that is known, with YouTube
            for what it lacks: each clip's outcome and source, undisturbed and killed K times as above
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kinetics_pipeline.workflows.benchmarks.archives.ground import (
    LOOK_EVERY,
    PADDING,
    VIDEOS,
    BenchCopy,
    build,
    command,
    data_files,
    data_names,
    ending,
    fill,
    started,
    watched,
)
from kinetics_pipeline.workflows.benchmarks.archives.kept_bytes import KeptBytes
from kinetics_pipeline.workflows.benchmarks.archives.published import outcomes, published_copy
from kinetics_pipeline.workflows.benchmarks.local_cluster import several_nodes
from kinetics_pipeline.workflows.benchmarks.loopback_archives import served
from kinetics_pipeline.workflows.runtime.progress import size

LINKS = (0.5, 1.0, 2.0)
LINK_VIDEOS, LINK_GROUP = 8, 2
"""Videos of an archive, and archives of a group, where links are measured: so many that a plan's own cost, a tenth of a
second, does not show. A published archive holds a thousand."""
SAMPLED_CLIPS = 48
"""Clips by which processing is timed before a link gets its rate."""
WANTED_RATIO, WANTED_DISK = 1.15, 0.1
NODES = 3


def links(folder: Path, archives: int, shares: Sequence[float], processing: float | None, console: Console) -> bool:
    with served() as server:
        copy = fill(server, folder, archives, LINK_VIDEOS)
        total = sum(map(len, server.archives().values()))
        flags = ("--archives-per-plan", str(LINK_GROUP))
        groups, clips = -(-archives // LINK_GROUP), archives * LINK_VIDEOS
        some = min(clips, SAMPLED_CLIPS)
        alone = processing
        if alone is None:
            alone = build(copy, folder / "alone", *flags, "--limit", str(some)).processing * clips / some
        console.print(
            f"{archives} archives with {LINK_VIDEOS} videos each, in {groups} groups; seconds; load: tasks a core"
        )
        columns = ("link", "over the link", "processing", "before", "between", "total", "ratio", "of the least", "load")
        console.print("".join(f"{column:>13}" for column in columns))
        good = True
        for share in shares:
            server.rate = share * total / alone
            took, link = build(copy, folder / f"link{share}", *flags), total / server.rate
            smaller, larger = sorted((link, took.processing))
            good &= took.wall / larger <= WANTED_RATIO
            ratios = (took.wall / larger, took.wall / (larger + smaller / groups))
            between = took.wall - took.before - took.processing
            seconds = "".join(f"{one:>13.1f}" for one in (link, took.processing, took.before, between, took.wall))
            load = os.getloadavg()[0] / (os.cpu_count() or 1)
            console.print(f"{share:>11g} x{seconds}{ratios[0]:>13.2f}{ratios[1]:>13.2f}{load:>13.1f}")
    return good


def disk(folder: Path, archives: int, console: Console) -> bool:
    with served() as server:
        copy = fill(server, folder, archives)
        took = build(copy, folder / "build")
        packed_bytes = sum(map(len, server.archives().values()))
    unpacked = archives * VIDEOS * (PADDING + (folder / "video.mp4").stat().st_size)
    share = took.peak / (packed_bytes + unpacked)
    console.print(
        f"{archives} archives of {size(packed_bytes)}: the cache held at most {size(took.peak)}; all of them and what "
        f"is in them take {size(packed_bytes + unpacked)}: {share:.1%}"
    )
    return share < WANTED_DISK


def kills(folder: Path, archives: int, count: int, seed: int, console: Console) -> bool:
    with served() as server:
        copy = fill(server, folder, archives)
        flags = ("--archives-per-plan", "2", "--max-disk", "40MB")
        build(copy, folder / "undisturbed", *flags[:2])
        return killed(copy, folder, flags, count, seed, console)


def published(folder: Path, count: int, seed: int, console: Console) -> bool:
    with served() as server, published_copy(server, folder) as (copy, expected):
        flags = ("--archives-per-plan", "3", "--max-disk", "40MB")
        build(copy, folder / "undisturbed", *flags)
        found = outcomes(folder / "undisturbed")
        wrong = {clip: found.get(clip) for clip, right in expected.items() if found.get(clip) != right}
        console.print(f"{len(expected) - len(wrong)} of {len(expected)} clips have their right outcome {wrong or ''}")
        good = killed(copy, folder, flags, count, seed, console)
        same = outcomes(folder / "killed") == found
        console.print(f"killed: outcomes and sources {'equal' if same else 'OTHERS'}")
        return good and same and not wrong


def killed(copy: BenchCopy, folder: Path, flags: tuple[str, ...], count: int, seed: int, console: Console) -> bool:
    """A build that is killed so many times, held against the one in `folder/undisturbed`."""
    chance = random.Random(seed)  # noqa: S311
    server = copy.server
    server.forget()
    server.rate = sum(map(len, server.archives().values())) / 20
    (folder / "killed").mkdir()
    kept, said = KeptBytes(server, folder / "killed/cache"), folder / "killed/said"
    done = 0
    with watched(folder / "killed/cache", kept.look) as seen:
        while True:
            with started(command(copy, folder / "killed", *flags), said, start_new_session=True) as run:
                if done == count or not goes_on(run, copy, folder / "killed", chance.uniform(0.0, 4.0)):
                    break
                os.killpg(run.pid, signal.SIGKILL)
            done += 1
    again = kept.asked_again(copy.damaged)
    same = data_files(folder / "killed") == data_files(folder / "undisturbed")
    console.print(
        f"{done} kills, exit code {run.returncode}; {len(again)} requests for bytes that were there {again[:3]}; the "
        f"cache held at most {size(seen[0])} of 40 MB; data files {'equal' if same else 'OTHERS'}"
    )
    if run.returncode:
        console.print(ending(said))
    return done == count and run.returncode == 0 and not again and seen[0] <= 40e6 and same


def nodes(folder: Path, archives: int, console: Console) -> bool:
    seen: list[set[str]] = [set() for _ in range(NODES)]
    disks, cache = folder / "disks", folder / "build" / "cache"
    cache.mkdir(parents=True)
    with served() as server:
        copy = fill(server, folder, archives)
        with several_nodes(NODES, private=(disks, cache)) as cluster:
            words = command(copy, folder / "build", "--archives-per-plan", "3")
            with started(words, folder / "said", {**os.environ, **cluster.environment}) as run:
                while run.poll() is None:
                    for number, keys in enumerate(seen):
                        keys |= {path.name for path in (disks / str(number)).glob("*/archives/*")}
                    time.sleep(LOOK_EVERY)
        asked = [path for path, _ in server.gets if path in server.archives()]
    console.print(
        f"exit code {run.returncode}; {len(asked)} requests for {archives} archives; on the nodes lay "
        f"{', '.join(str(len(keys)) for keys in seen)} of them"
    )
    if run.returncode:
        console.print(ending(folder / "said"))
    once = sorted(asked) == sorted(server.archives())
    return run.returncode == 0 and once and all(seen) and sum(map(len, seen)) == archives


def goes_on(run: subprocess.Popen[bytes], copy: BenchCopy, folder: Path, seconds: float) -> bool:
    """Whether a build is still at work so many seconds after it was seen to ask for an archive or commit a shard."""

    def progress() -> tuple[int, int]:
        archives = copy.server.archives()
        return sum(path in archives for path, _ in list(copy.server.gets)), len(data_names(folder))

    before = progress()
    while run.poll() is None and progress() == before:
        time.sleep(LOOK_EVERY)
    time.sleep(seconds)
    return run.poll() is None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("links", "disk", "kills", "nodes", "published"), default="links")
    parser.add_argument("--archives", type=int, help="default: 60, for disk 200, for kills 12, for nodes 9")
    parser.add_argument("--link", type=float, action="append", help="for links: one of the rates alone")
    parser.add_argument("--processing", type=float, help="for links: its seconds, where they are known, to be quicker")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory() as place:
        if words.what == "links":
            good = links(Path(place), words.archives or 60, words.link or LINKS, words.processing, console)
        elif words.what == "disk":
            good = disk(Path(place), words.archives or 200, console)
        elif words.what == "nodes":
            good = nodes(Path(place), words.archives or 9, console)
        elif words.what == "published":
            good = published(Path(place), words.kills, words.seed, console)
        else:
            good = kills(Path(place), words.archives or 12, words.kills, words.seed, console)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
