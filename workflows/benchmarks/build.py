"""How fast a build is: the same clips without flow and with it, through the real command.

    python -m workflows.benchmarks.build [FOLDER ANNOTATIONS]

Without arguments it renders a few videos of Kinetics' size and length. Prints clips/s, the seconds of each stage, the
share of the cores' time that the stages used, and the most memory that the driver held.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.video.ffmpeg import executable

CLIPS = 6
SECONDS, FPS, WIDTH, HEIGHT = 10, 25, 456, 342


@dataclass(frozen=True)
class BuildResult:
    """What one build took."""

    what: str
    clips: int
    wall: float
    seconds: dict[str, float]
    """Seconds of all clips, by stage."""
    driver_bytes: int
    """The driver's largest resident set."""


def render(folder: Path) -> Path:
    """`CLIPS` videos of a smooth texture that drifts and turns, and the annotation file that asks for them."""
    rows = [("label", "youtube_id", "time_start", "time_end", "split")]
    for number in range(CLIPS):
        noise = np.random.default_rng(number).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
        texture = cv2.GaussianBlur(noise, (0, 0), 4)
        texture = np.clip(128 + 50 * texture / texture.std(), 0, 255).astype(np.uint8)
        name = f"bench-{number:05d}"
        encoder = subprocess.Popen(
            [executable(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r",
             str(FPS), "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-y",
             str(folder / f"{name}.mp4")],
            stdin=subprocess.PIPE,
        )  # fmt: skip
        assert encoder.stdin is not None
        for frame in range((SECONDS + 1) * FPS):
            turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 0.3 * frame, 1)
            turn[:, 2] += np.array((1.3, 0.4)) * frame
            encoder.stdin.write(cv2.warpAffine(texture, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_WRAP).tobytes())
        encoder.stdin.close()
        encoder.wait()
        rows.append(("drifting", name, "0", str(SECONDS), "train"))
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return annotations


def measure(what: str, source: Path, annotations: Path, folder: Path, *flags: str) -> BuildResult:
    output, cache = folder / what.replace(" ", "-"), folder / "cache"
    places = ["--source", str(source), "--output", str(output), "--cache", str(cache)]
    command = [sys.executable, "-m", "kinetics_pipeline.workflows", "build", str(annotations), *places, *flags]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status:
        raise SystemExit(f"the build ended with {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    seconds: Counter[str] = Counter()
    records = Dataset.open(output).records().values()
    for record in records:
        seconds.update(record.seconds)
    scale = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kilobytes on Linux, bytes on macOS
    return BuildResult(what, len(records), wall, dict(seconds), used.ru_maxrss * scale)


def show(results: list[BuildResult]) -> None:
    stages = list(dict.fromkeys(stage for result in results for stage in result.seconds))
    cores = os.cpu_count() or 1
    table = Table("build", "clips", "wall s", "clips/s", *(f"{stage} s" for stage in stages), "cores busy", "driver MB")
    for r in results:
        busy = sum(r.seconds.values()) / (r.wall * cores)
        spent = (f"{r.seconds.get(stage, 0.0):.1f}" for stage in stages)
        table.add_row(
            r.what, str(r.clips), f"{r.wall:.1f}", f"{r.clips / r.wall:.2f}", *spent, f"{busy:.0%}",
            f"{r.driver_bytes / 1e6:.0f}",
        )  # fmt: skip
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "given", nargs="*", type=Path, metavar="FOLDER ANNOTATIONS", help="videos, and what is asked of them"
    )
    given = parser.parse_args().given
    if len(given) not in (0, 2):
        parser.error("give both FOLDER and ANNOTATIONS, or neither")
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        source, annotations = given or (folder, render(folder))
        show([
            measure("without flow", source, annotations, folder, "--flow", "none"),
            measure("with flow", source, annotations, folder),
        ])  # fmt: skip


if __name__ == "__main__":
    main()
