"""Rounds in which something happens to a build on a cluster of two nodes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from kinetics_pipeline.workflows.benchmarks.chaos.builds import Build, settle, some_moment, stop, undisturbed
from kinetics_pipeline.workflows.benchmarks.chaos.ground import SMALL_DISK, SourceKind
from kinetics_pipeline.workflows.benchmarks.chaos.judge import judge
from kinetics_pipeline.workflows.benchmarks.chaos.quick_build import DEAD_AFTER
from kinetics_pipeline.workflows.benchmarks.chaos.rounds import Play, Round

FAULTY_SHARE = 0.03
"""Share of the requests to the object store that fail in rounds about another fault."""
KILLED = -signal.SIGKILL


def _build(one: Round, source: SourceKind | None = None) -> tuple[Build, SourceKind]:
    source = source or one.source
    undisturbed(one, source)
    if one.store == "S3":
        one.ground.bucket.share = FAULTY_SHARE
    one.told.append(f"{source} to {one.store}")
    return Build.of(one, source), source


def driver_killed(one: Round) -> None:
    """The driver is killed at one of its writes, or at some moment."""
    build, source = _build(one)
    if one.random.random() < 0.5:
        number = one.random.randint(1, 30)
        one.told.append(f"killed at its write {number}")
        process = build.start(die_at=number)
    else:
        process = build.start()
        if some_moment(one, build, process):
            process.kill()
    one.injected += build.end(process, (0, KILLED), one) == KILLED
    settle(one, build, source)


def driver_restarted(one: Round) -> None:
    """Killed or interrupted, again and again."""
    build, source = _build(one)
    for _ in range(one.random.randint(2, 3)):
        process = build.start()
        if some_moment(one, build, process):
            how = one.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            if build.inline and how == signal.SIGTERM:  # which only the command takes as a request
                how = signal.SIGKILL
            one.told.append(how.name)
            process.send_signal(how)
            one.injected += 1
        build.end(process, (0, 130, KILLED), one)
    settle(one, build, source)


def _workers(one: Round, *parts: str) -> list[psutil.Process]:
    assert one.ground.cluster is not None
    found = {process for part in parts for process in one.ground.cluster.workers(part)}
    return sorted(found, key=lambda process: process.pid)


def _befalls(one: Round, do: Callable[[psutil.Process], None], *parts: str, source: SourceKind | None = None) -> None:
    """Does something to processes so called, at up to three moments of one build."""
    build, source = _build(one, source)
    process = build.start()
    for _ in range(one.random.randint(1, 3)):
        if not some_moment(one, build, process):
            break
        # Most of them come and go within a second.
        build.wait_until(lambda: bool(_workers(one, *parts)), process)
        if found := _workers(one, *parts):
            with suppress(psutil.NoSuchProcess):
                chosen = one.random.choice(found)
                one.told.append(f"{' '.join(chosen.cmdline())[:60]}")
                do(chosen)
                one.injected += 1
    build.end(process, (0, 3), one)
    settle(one, build, source)


WORK = ("ray::process", "ray::write", "ray::Fetcher", "ray::_", "ray::IDLE")


def worker_killed(one: Round) -> None:
    _befalls(one, psutil.Process.kill, *WORK)


def child_killed(one: Round) -> None:
    """The process of a download, or a decoder."""
    source: SourceKind = "youtube" if one.turn % 2 else "server"
    _befalls(one, psutil.Process.kill, "kinetics_pipeline.sources.child_process", "ffmpeg", source=source)


def worker_frozen(one: Round) -> None:
    def freeze(process: psutil.Process) -> None:
        process.suspend()
        time.sleep(one.random.uniform(1.0, 4.0))
        process.resume()

    _befalls(one, freeze, *WORK, "kinetics_pipeline.sources.child_process")


def node_lost(one: Round) -> None:
    cluster = one.ground.cluster
    assert cluster is not None
    build, source = _build(one)
    process = build.start()
    if some_moment(one, build, process):
        cluster.kill_node(one.random.choice(cluster.raylets))
        one.injected += 1
        cluster.add_node()
    build.end(process, (0, 3), one)
    settle(one, build, source)


def driver_frozen(one: Round) -> None:
    """The driver stops for longer than its lease lasts: another build takes over, and then the first one goes on."""
    build, source = _build(one)
    first = build.start()
    if not some_moment(one, build, first):
        build.end(first, (0,), one)
        settle(one, build, source)
        return
    stop(first)
    second = build.start(cache=build.cache if one.random.random() < 0.5 else one.folder / "other")

    if build.wait_until(lambda: build.is_held_by(second), second):
        one.injected += 1
    else:
        one.told.append(f"nobody took over within {DEAD_AFTER} s")
    time.sleep(one.random.random() * 3)
    first.send_signal(signal.SIGCONT)
    build.end(second, (0, 3), one)
    build.end(first, (0, 3), one)
    settle(one, build, source)


def two_builds(one: Round) -> None:
    """Two builds of one dataset start at once, with one cache or with one each."""
    build, source = _build(one)
    first = build.start()
    time.sleep(one.random.random() * 2)
    second = build.start(cache=build.cache if one.random.random() < 0.5 else one.folder / "other")
    codes = {build.end(process, (0, 3), one) for process in (first, second)}
    one.injected += 1
    if 0 not in codes:
        one.wrong(f"neither of two builds came to its end: {codes}")
    settle(one, build, source)


def store_faulty(one: Round) -> None:
    """Every tenth request or more fails in one of the ways that go by."""
    build, source = _build(one)
    build.place = f"s3://counted/{one.folder.name}"
    one.ground.bucket.share = one.random.uniform(0.1, 0.25)
    failed = one.ground.bucket.failed
    build.end(build.start(), (0, 3), one)
    one.injected += one.ground.bucket.failed - failed
    settle(one, build, source)


def source_down(one: Round) -> None:
    """From the start for longer than is waited, or for a while in the middle."""
    build, source = _build(one, "server")
    mirror = one.ground.server
    kind = one.random.choice(["reset", "503", "500"])
    if one.random.random() < 0.5:
        one.told.append(f"{kind} from the start")
        mirror.plan(kind, 10**9)  # type: ignore[arg-type]
        if build.end(build.start(max_wait="1s"), (0, 3), one) == 0:
            one.wrong("a build whose source was down came to its end")
    else:
        process = build.start()
        some_moment(one, build, process)
        one.told.append(f"{kind} for a while")
        mirror.plan(kind, 10**9)  # type: ignore[arg-type]
        time.sleep(one.random.uniform(2, 8))
        mirror.left = 0
        build.end(process, (0, 3), one)
    one.injected += mirror.failed
    mirror.left = 0
    settle(one, build, source)


def _ballast(random: Random, disk: Path, *, least: int) -> Path:
    """A file that leaves little room."""
    file = disk / "ballast"
    file.write_bytes(b"\1" * (SMALL_DISK - random.randint(least, 200_000)))
    return file


def disk_full(one: Round) -> None:
    """The dataset's disk, or the cache's."""
    small = one.ground.small_disk
    if small is None:
        one.told.append("no small disk can be mounted here")
        return
    disk = small / one.folder.name
    disk.mkdir()
    source = one.source
    whole = undisturbed(one, source)
    if one.random.random() < 0.5:
        build = Build.of(one, source, cache=disk)
        one.told.append("the cache's")
    else:
        build = Build.of(one, source, place=str(disk / "dataset"))
        one.told.append("the dataset's")
    ballast = _ballast(one.random, small, least=10_000)
    code = build.end(build.start(), (0, 1, 3), one)
    one.injected += code != 0
    ballast.unlink()
    build.finish(one)
    one.verdicts.append(judge(build.place, build.cache, one.ground.clip_ids, whole))


FAULTS: dict[str, Play] = {
    "driver killed": driver_killed,
    "store faulty": store_faulty,
    "driver frozen": driver_frozen,
    "two builds": two_builds,
    "driver restarted": driver_restarted,
}
ON_A_CLUSTER: dict[str, Play] = {
    "worker killed": worker_killed,
    "node lost": node_lost,
    "source down": source_down,
    "disk full": disk_full,
    "child killed": child_killed,
    "worker frozen": worker_frozen,
}
"""Those that need one."""
