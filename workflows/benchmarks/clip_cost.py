"""Processor time of a clip with flow: a build on an embedded Ray beside plain loops that do the same work by the same
functions.

    python -m workflows.benchmarks.scale --clips FEW MANY

Both are run with few clips and with many, in turn. The difference is what clips take; the rest is the start. As many
loops run at a time as there are cores, each with its share of the shards, so that both sides press the processor's
caches and memory alike. `scale` prints it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.table import Table

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.clip import process_clip
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.plan import PlannedShard, PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record, Spent
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.video.ffmpeg import executable

VIDEO_SECONDS, SECONDS, SHORT_SIDE, CLIPS_PER_SHARD = 14, 2, 128, 4
LOOK_EVERY = 0.1
BAR = 1.05
DAEMONS = ("gcs_server", "raylet", "dashboard", "log_monitor", "runtime_env", "monitor.py")
LOOPS, DRIVER, WORKERS, RAY = "loops", "driver", "workers", "Ray's daemons"


@dataclass(frozen=True)
class ClipCost:
    """Processor seconds of one number of clips, by kind of process."""

    clips: int
    seconds: dict[str, float]


def render(folder: Path) -> None:
    """A video of `VIDEO_SECONDS` that zooms into a fractal."""
    picture = ["-f", "lavfi", "-i", "mandelbrot=size=256x192:rate=25:start_scale=0.1", "-t", str(VIDEO_SECONDS)]
    command = [executable(), "-v", "error", *picture, "-pix_fmt", "yuv420p", "-y", str(folder / "0.mp4")]
    subprocess.run(command, check=True)


def annotation_file(folder: Path, clips: int) -> Path:
    """Clips of that video, under as many names as they take, beginning a quarter of a second apart."""
    each = 4 * (VIDEO_SECONDS - SECONDS)
    rows = ["label,video_id,time_start,time_end,split"]
    for number in range(clips):
        video, start = number // each, number % each / 4
        if not (folder / f"{video}.mp4").exists():
            os.link(folder / "0.mp4", folder / f"{video}.mp4")
        rows.append(f"moving,{video},{start},{start + SECONDS},train")
    path = folder / f"asked-{clips}.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def measure(few: int, many: int, rounds: int, folder: Path) -> list[ClipCost]:
    """Loops and builds of few clips and of many, in turn; `folder` is empty."""
    videos = folder / "videos"
    videos.mkdir()
    render(videos)
    found = []
    for number in range(rounds):
        for clips in (few, many):
            annotations, place = annotation_file(videos, clips), folder / f"{number}-{clips}"
            place.mkdir()
            found.append(ClipCost(clips, {LOOPS: _loops(annotations, place), **_built(annotations, place)}))
    return found


def _loops(annotations: Path, place: Path) -> float:
    before, cores = _of_children(), os.cpu_count() or 1
    command = (sys.executable, "-m", "kinetics_pipeline.workflows.benchmarks.clip_cost", str(annotations), str(place))
    own = {**os.environ, "OMP_NUM_THREADS": "1"}  # as Ray gives its workers
    running = [subprocess.Popen((*command, str(share), str(cores)), env=own) for share in range(cores)]
    for one in running:
        if one.wait():
            raise subprocess.CalledProcessError(one.returncode, command)
    return _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loop(annotations: Path, place: Path, share: int, shares: int) -> None:
    """Makes the shards whose number is `share`, of every `shares` one, without Ray and without a driver."""
    asked, source = load_annotations([annotations]), FolderSource(annotations.parent)
    recipe = Recipe(short_side=SHORT_SIDE, flow_backend="cpu")
    dataset = Dataset.create(place / f"loop-{share}", recipe, asked.labels, asked.hashes)
    plan = make_plan(
        asked.columns,
        outcomes={},
        settings=PlanSettings(clips_per_shard=CLIPS_PER_SHARD),
        held_locally=lambda clips: [clip.clip_id for clip in clips],
        next_shard={},
    )
    spool = Spool(place / f"spool-{share}")
    for number, shard in enumerate(plan.shards()):
        if number % shares == share:
            write_shard(
                dataset.store,
                name=shard.name,
                plan=plan_name(0),
                clips=_made(shard, source, recipe, spool),
                recipe=recipe,
                classes=dataset.classes,
                scratch=place / f"scratch-{share}",
                still_current=lambda: True,
            )


def _made(shard: PlannedShard, source: FolderSource, recipe: Recipe, spool: Spool) -> Iterator[tuple[Record, bytes]]:
    for clip in shard.clips:
        done = process_clip(clip, source.candidates(clip), recipe, 0)
        record = Record.of(
            clip, done.outcome, done.detail, Spent(seconds=done.seconds), source=done.source, frames=done.frames
        )
        spool.put(record.at(time.time()), done.payload)
    for clip in shard.clips:
        kept = spool.get(clip.clip_id)
        assert kept is not None
        yield kept
        spool.remove(clip.clip_id)


def _built(annotations: Path, place: Path) -> dict[str, float]:
    """Processor seconds of the driver, of the workers with what they start, and of Ray's daemons."""
    command = [sys.executable, "-m", "kinetics_pipeline.workflows", "build", str(annotations)]
    command += ["--source", str(annotations.parent), "--output", str(place / "data"), "--cache", str(place / "cache")]
    command += ["--short-side", str(SHORT_SIDE), "--flow-backend", "cpu", "--clips-per-shard", str(CLIPS_PER_SHARD)]
    spent: dict[int, tuple[str, float]] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.Error):
                for one in (driver, *driver.children(recursive=True)):
                    _look(one, driver, spent)
            time.sleep(LOOK_EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    sums = {DRIVER: 0.0, WORKERS: 0.0, RAY: 0.0}
    for kind, seconds in spent.values():
        sums[kind] += seconds
    return sums


def _look(process: psutil.Process, driver: psutil.Process, spent: dict[int, tuple[str, float]]) -> None:
    """Notes what a process has used so far. What a worker starts, as ffmpeg, counts once it has ended, as the worker's;
    of others what they start is looked at by itself."""
    with suppress(psutil.Error):
        times, line = process.cpu_times(), " ".join(process.cmdline())
        own = times.user + times.system
        if process.pid == driver.pid:
            spent[process.pid] = (DRIVER, own)
        elif line.startswith("ray::"):
            spent[process.pid] = (WORKERS, own + times.children_user + times.children_system)
        elif any(name in line for name in DAEMONS):
            spent[process.pid] = (RAY, own)
        elif (parent := process.parent()) is not None and " ".join(parent.cmdline()).startswith("ray::"):
            spent.pop(process.pid, None)
        else:
            spent[process.pid] = (WORKERS, own)  # one that has not got its name yet


def table(found: Sequence[ClipCost]) -> Table:
    """Milliseconds of a clip, and seconds of the start, by kind of process."""
    few, many = min(one.clips for one in found), max(one.clips for one in found)
    a_clip, start = {}, {}
    for kind in (LOOPS, DRIVER, WORKERS, RAY):
        least, most = (_mean([one.seconds[kind] for one in found if one.clips == clips]) for clips in (few, many))
        a_clip[kind] = (most - least) / (many - few)
        start[kind] = least - few * a_clip[kind]
    whole = sum(a_clip[kind] for kind in (DRIVER, WORKERS, RAY))
    shown = Table("processor time", "ms a clip", "of the loops", "s at the start", box=None)
    for kind in a_clip:
        shown.add_row(kind, f"{1000 * a_clip[kind]:.0f}", f"{a_clip[kind] / a_clip[LOOPS]:.3f}", f"{start[kind]:.1f}")
    begun = sum(start[kind] for kind in (DRIVER, WORKERS, RAY))
    shown.add_row("build", f"{1000 * whole:.0f}", f"{whole / a_clip[LOOPS]:.3f} (bar {BAR})", f"{begun:.1f}")
    return shown


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description="one of the loops")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("place", type=Path)
    parser.add_argument("share", type=int)
    parser.add_argument("shares", type=int)
    asked = parser.parse_args()
    loop(asked.annotations, asked.place, asked.share, asked.shares)


if __name__ == "__main__":
    main()
