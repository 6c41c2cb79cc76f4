"""Races for a dataset's lease, and of whole builds: how often one holds, and whether a clip is lost.

    python -m kinetics_pipeline.workflows.benchmarks.races [--leases 200] [--builds 0] [--no-ray] [--processes 4]

A race for a lease is two: processes that begin together on a dataset nobody holds, and processes that all find its
holder dead at the same moment. Exactly one may hold each time, on a local disk and on an object store. A race of
builds freezes one until another has taken over, and lets it go on while that is at work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.chaos import quick_build
from kinetics_pipeline.workflows.benchmarks.requests import BUCKET, counted_s3
from kinetics_pipeline.workflows.building.lease import DEAD_AFTER, Lease, LeaseHeld, Machine, Process, Watch, latest

CLIPS = 12
LONGEST = 900.0
"""Seconds that a step of a race of builds may take: a starved machine starts Ray slowly."""
RACES = {"begun together": 1, "found dead together": 1, "renewed by the dead": 0}
"""Race -> how many win it."""


def _acquired(store: Store, name: str) -> Lease | None:
    """The lease of a dataset that nobody holds; None where another was faster."""

    def give_up(seconds: float) -> None:
        raise LeaseHeld("another was faster")

    try:
        return Lease.acquire(store, Machine(Process(name, name, 1, 0.0), sleep=give_up), renewing=False)
    except LeaseHeld:
        return None


def _race(
    place: str,
    number: int,
    rounds: int,
    together: multiprocessing.synchronize.Barrier,
    won: multiprocessing.Queue[tuple[int, str] | None],
) -> None:
    """One process: both races of every round. Puts (round, race) for each that it wins."""
    for one in range(rounds):
        store, passed = open_store(f"{place}/race-{one}"), [0.0]
        together.wait()
        if (first := _acquired(store, f"first {number}")) is not None:
            won.put((one, "begun together"))
        together.wait()
        name = f"second {number}"
        machine = Machine(Process(name, name, 1, 0.0), clock=lambda passed=passed: passed[0])  # type: ignore[misc]
        watch = Watch(store, machine)
        watch.look()
        together.wait()
        passed[0] = DEAD_AFTER
        if watch.look() == "free" and Lease.take(store, watch.newest, machine) is not None:
            won.put((one, "found dead together"))
        together.wait()
        if first is not None and first.renew():
            won.put((one, "renewed by the dead"))
        together.wait()
    won.put(None)


def lease_races(place: str, rounds: int, processes: int) -> dict[str, Counter[int]]:
    """Counts, for each kind of race, how many rounds had how many winners."""
    context = multiprocessing.get_context("spawn")
    together, won = context.Barrier(processes), context.Queue()
    racers = [context.Process(target=_race, args=(place, number, rounds, together, won)) for number in range(processes)]
    for racer in racers:
        racer.start()
    wins: Counter[tuple[int, str]] = Counter()
    left = processes
    while left:
        if (win := won.get(timeout=600)) is None:
            left -= 1
        else:
            wins[win] += 1
    for racer in racers:
        racer.join()
    return {race: Counter(wins[one, race] for one in range(rounds)) for race in RACES}


_QUICK = """
import sys
from kinetics_pipeline.workflows.building import lease
lease.RENEW_EVERY, lease.DEAD_AFTER, lease.LOOK_EVERY = 0.5, 4.0, 0.25
known = lease.process_state
lease.Machine.__dataclass_fields__["state_of"].default = None
make = lease.Machine.__init__
def elsewhere(self, *args, **changes):
    make(self, *args, **{"state_of": lambda holding, here: "unknown", **changes})
lease.Machine.__init__ = elsewhere
from kinetics_pipeline.workflows.cli.app import run
sys.exit(run(sys.argv[1:]))
"""
"""A build that renews often and treats the other as on another machine."""


def _command(folder: Path, place: str, cache: str, *, ray: bool) -> list[str]:
    """A build of the folder's videos; `ray`: as users start it, otherwise in one process and without Ray."""
    asked, videos = str(folder / "asked.csv"), str(folder / "videos")
    if not ray:
        return [sys.executable, "-m", quick_build.__name__, "0", "inline", place, str(folder / cache), asked, videos]
    command = [sys.executable, "-c", _QUICK, "build", asked, "--output", place]
    command += ["--source", videos, "--cache", str(folder / cache), "--clips-per-shard", "2"]
    return [*command, "--short-side", "32", "--flow-backend", "cpu", "--cpus", "1"]


def build_race(folder: Path, place: str, *, ray: bool = True) -> str:
    """What was wrong; empty where nothing was."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    rows = ["label,youtube_id,time_start,time_end,split"]
    for number in range(CLIPS):
        source = f"testsrc=duration=1.2:size=64x48:rate=25:decimals={number % 5}"
        video = videos / f"clip_{number:06d}.mp4"
        subprocess.run([executable(), "-v", "error", "-y", "-f", "lavfi", "-i", source, video], check=True)
        rows.append(f"a,clip_{number:06d},0,1,train")
    (folder / "asked.csv").write_text("\n".join(rows) + "\n")

    def begin(cache: str) -> subprocess.Popen[str]:
        command = _command(folder, place, cache, ray=ray)
        environment = {**os.environ, "RAY_ADDRESS": ""}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    first = begin("first")
    deadline = time.monotonic() + LONGEST
    while first.poll() is None and time.monotonic() < deadline and not open_store(place).list("shards"):
        time.sleep(0.1)
    first.send_signal(signal.SIGSTOP)
    second = begin("second")
    deadline = time.monotonic() + LONGEST
    while second.poll() is None and time.monotonic() < deadline:
        newest = latest(open_store(place))
        if newest is not None and newest.holding is not None and newest.holding.pid == second.pid:
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGCONT)
    printed, _ = second.communicate(timeout=LONGEST)
    told, _ = first.communicate(timeout=LONGEST)
    if second.returncode != 0:
        return f"the winner ended with {second.returncode}: {printed[-500:]}"
    if first.returncode not in (0, 3):
        return f"the loser ended with {first.returncode}: {told[-500:]}"
    dataset = Dataset.open(place)
    if faults := verify(dataset).faults:
        return f"verify: {faults[0]}"
    outcomes = dataset.outcomes()
    if sorted(outcomes.values()) != ["ok"] * CLIPS:
        return f"clips: {json.dumps(outcomes)}"
    named = [entry["clip_id"] for marker in dataset.markers() for entry in marker.clips]
    return "" if len(named) == len(set(named)) == CLIPS else "a clip is in two shards"


def main() -> int:
    """1 where a race had no holder, or two, or a clip was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=200)
    parser.add_argument("--builds", type=int, default=0)
    parser.add_argument("--ray", action=argparse.BooleanOptionalAction, default=True, help="builds on Ray")
    parser.add_argument("--processes", type=int, default=4)
    asked = parser.parse_args()
    table = Table("store", "race", "rounds", "with one", "with none", "with more", box=None)
    failed = False
    with tempfile.TemporaryDirectory() as temporary, counted_s3():
        for kind, place in (("local disk", f"{temporary}/leases"), ("S3", f"s3://{BUCKET}/leases")):
            for race, winners in lease_races(place, asked.leases, asked.processes).items():
                more = sum(rounds for number, rounds in winners.items() if number > 1)
                table.add_row(kind, race, str(asked.leases), str(winners[1]), str(winners[0]), str(more))
                failed |= winners[RACES[race]] != asked.leases
        wrong: list[str] = []
        for number in range(asked.builds):
            place = f"s3://{BUCKET}/builds-{number}" if number % 2 else f"{temporary}/builds-{number}"
            if problem := build_race(Path(temporary) / f"race-{number}", place, ray=asked.ray):
                wrong.append(f"build race {number}: {problem}")
        if asked.builds:
            table.add_row("both", "builds", str(asked.builds), str(asked.builds - len(wrong)), "", str(len(wrong)))
    Console().print(table)
    print("\n".join(wrong))
    return int(failed or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
