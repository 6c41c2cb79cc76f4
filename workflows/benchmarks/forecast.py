"""How well `plan` knows what a build takes: its forecast for 48 clips beside the build of them.

    python -m kinetics_pipeline.workflows.benchmarks.forecast [FOLDER]

FOLDER: two videos or more, of 10 s at least; without it some are rendered. Three forecasts: by a rendered clip, as
where nothing is here yet; by the clips of one half of the videos, for those of the other half, which have another
size and length; by some of the very clips, as `plan` does. Bar: all within 30 % of the build, in
processor seconds of its workers, which other work on this machine does not change. The build's stages are timed by the
clock, so on a machine that is busy they take longer than the forecast says.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.building.forecast.hours import START, Machines, forecast
from kinetics_pipeline.workflows.building.forecast.timing import TIMED, Sample, StageTimes, stage_times

CLIPS, SHORT_SIDE = 48, 112
LENGTHS = (2, 3, 4)
"""Seconds of the clips that are built, in turn; those that are timed have 10."""
BAR = 0.3
LOOK_EVERY = 0.2
RENDERED = {"one": "320x240", "two": "480x360", "three": "426x240", "four": "640x360"}
STAGES = ("decode", "flow", "encode")


def render(folder: Path) -> None:
    """Videos of 14 s that zoom into a fractal, of several sizes."""
    for number, (name, side) in enumerate(RENDERED.items()):
        picture = f"mandelbrot=size={side}:rate=30:start_scale={0.1 / (number + 1)}"
        command = [executable(), "-v", "error", "-f", "lavfi", "-i", picture, "-t", "14", "-pix_fmt", "yuv420p"]
        subprocess.run([*command, "-y", str(folder / f"{name}.mp4")], check=True)


def built(videos: list[Path], folder: Path) -> tuple[dict[str, float], int, float, float]:
    """Seconds of each stage of all clips, their frames, the seconds of the whole command, and the processor seconds of
    its workers."""
    rows = ["label,youtube_id,time_start,time_end,split"]
    for number in range(CLIPS):
        video, start = videos[number % len(videos)], number // len(videos) * 0.25
        rows.append(f"moving,{video.stem},{start},{start + LENGTHS[number % len(LENGTHS)]},train")
    annotations, output = folder / "asked.csv", folder / "dataset"
    annotations.write_text("\n".join(rows) + "\n")
    places = ["--source", str(videos[0].parent), "--output", str(output), "--cache", str(folder / "cache")]
    flags = ["--short-side", str(SHORT_SIDE), "--flow-backend", "cpu"]
    command = [sys.executable, "-m", "kinetics_pipeline.workflows", "build", str(annotations), *places, *flags]
    began = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    spent: dict[int, float] = {}
    while process.poll() is None:
        spent |= _workers(process)
        time.sleep(LOOK_EVERY)
    wall = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"the build ended with {process.returncode}: {' '.join(command)}")
    seconds: Counter[str] = Counter()
    records = list(Dataset.open(str(output)).records().values())
    for record in records:
        seconds.update(record.seconds)
    return dict(seconds), sum(record.frames for record in records), wall, sum(spent.values())


def _workers(process: psutil.Popen) -> dict[int, float]:
    """Processor seconds of the workers of a build and of what they start, by process id."""
    found: dict[int, float] = {}
    with suppress(psutil.Error):
        for one in process.children(recursive=True):
            with suppress(psutil.Error):
                if one.name().startswith(("ray::", "ffmpeg", "python")):
                    taken = one.cpu_times()
                    found[one.pid] = taken.user + taken.system
    return found


def forecasts(measured: list[Path], asked: list[Path], recipe: Recipe) -> dict[str, StageTimes]:
    """What `plan` would take for a frame, in three ways."""
    others = [Sample(video, 0.0, 10.0) for video in measured]
    own = [Sample(video, 0.0, float(LENGTHS[number % len(LENGTHS)])) for number, video in enumerate(asked * 2)]
    return {
        "rendered": stage_times(recipe, None, []),
        "other clips": stage_times(recipe, None, others[:TIMED]),
        "its own clips": stage_times(recipe, None, own[:TIMED]),
    }


def main() -> int:
    """1 where a forecast misses the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="videos; default: some are rendered")
    given = parser.parse_args().folder
    recipe, cores = Recipe(short_side=SHORT_SIDE, flow_backend="cpu"), os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        if given is None:
            render(folder)
        videos = sorted((given or folder).absolute().glob("*.mp4"))
        if len(videos) < 2:
            parser.error(f"{given} holds {len(videos)} .mp4 files; give two or more")
        measured, asked = videos[::2], videos[1::2]
        times = forecasts(measured, asked, recipe)
        seconds, frames, wall, spent = built(asked, folder)
    on = Machines(1, cores, 0, measured=True)
    found = {way: forecast(frames, one, recipe, on, 0.0) for way, one in times.items()}
    table = Table("", *found, "build")
    for stage in STAGES:
        table.add_row(
            f"{stage}, core s",
            *(f"{getattr(one, stage) * cores:.1f}" for one in found.values()),
            f"{seconds[stage]:.1f}",
        )
    table.add_row("processor s of the workers", *(f"{one.work * cores:.1f}" for one in found.values()), f"{spent:.1f}")
    table.add_row("by the clock, s", *(f"{one.total:.1f}" for one in found.values()), f"{wall:.1f}")
    shares = [one.work * cores / spent for one in found.values()]
    table.add_row("processor s beside the build's", *(f"{share:.2f}" for share in shares), "1")
    Console().print(table)
    print(f"{CLIPS} clips, {frames} frames, on {cores} cores; {START:.0f} s of the forecasts are the start of Ray")
    return int(any(abs(share - 1) > BAR for share in shares))


if __name__ == "__main__":
    sys.exit(main())
