"""How fast labelled clips come from a server, and for how many bytes, against the usual two commands a video.

    python -m workflows.benchmarks.acquire [--clips N] [--seconds S]

One clip of ten seconds from each of N videos of S seconds, which a YouTube on loopback serves: no network limits, so
what is left is the work. Every way ends with the same thing, JPEGs of 25 frames a second with a short side of 256:

    sections    `build --flow none` from YouTube: the bytes that the file's index names
    mirror      the same from a plain server, whole files
    commands    `yt-dlp` for each whole video, then `ffmpeg` for its clip, as many at a time as there are cores
    decoding    the limit: ffmpeg decodes and scales the clips of local files, and keeps nothing
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.loopback_youtube import CLIENT, FLAGS, LoopbackYouTube

WIDTH, HEIGHT, CLIP = 640, 360, 10
"""Size of the film (YouTube's 360p, the smallest with a short side of at least 256), and seconds of a clip."""
CUT = ("-vf", "fps=25,scale=-2:256")
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class AcquireResult:
    """What one way to fetch the clips took."""

    what: str
    clips: int
    start: float
    """Seconds until the server heard of it: Ray's start. Once a run, whatever the number of clips."""
    wall: float
    """Seconds after that."""
    bytes: int
    """What the server sent."""


@dataclass(frozen=True)
class Set:
    """The clips to get: video ids with the second at which each clip begins."""

    film: Path
    begins: dict[str, int]
    annotations: Path


def render(folder: Path, clips: int, seconds: int) -> Set:
    """One moving film at about 500 kbit/s with an index, a key frame every five seconds: as YouTube has them."""
    film = folder / "film.mp4"
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration={seconds},noise=alls=6:allf=t"
    encoder = ("-c:v", "libx264", "-preset", "veryfast", "-b:v", "500k", "-g", "125", "-pix_fmt", "yuv420p")
    flags = ("-movflags", "+dash+global_sidx+frag_keyframe+empty_moov+default_base_moof")
    subprocess.run([executable(), "-v", "error", "-f", "lavfi", "-i", source, *encoder, *flags, str(film)], check=True)
    begins = {f"acquire{number:04d}": 7 * number % (seconds - CLIP) for number in range(clips)}
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        rows = [("moving", name, second, second + CLIP, "train") for name, second in begins.items()]
        csv.writer(out).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *rows])
    return Set(film, begins, annotations)


def by_build(youtube: LoopbackYouTube, clips: Set, folder: Path, *source: str) -> None:
    """The whole command. Raises SystemExit when not every clip came."""
    places = ["--output", str(folder / "dataset"), "--cache", str(folder / "cache"), "--flow", "none"]
    command = [sys.executable, "-m", "kinetics_pipeline.workflows", "build", str(clips.annotations)]
    _run([*command, *places, *source, *FLAGS])
    if Dataset.open(str(folder / "dataset")).counts().ok != len(clips.begins):
        raise SystemExit(f"not every clip came: {' '.join(command)}")


def by_commands(youtube: LoopbackYouTube, clips: Set, folder: Path) -> None:
    """yt-dlp, then ffmpeg, for each video."""

    def one(name: str) -> None:
        place = folder / name
        place.mkdir(parents=True)
        video = place / "video.mp4"
        arguments = ";".join(f"{key}={','.join(value)}" for key, value in CLIENT.items())
        handed = ("--proxy", youtube.url, "--no-check-certificates", "--extractor-args", f"youtube:{arguments}")
        chosen = ("-q", "--no-progress", "-f", "bv", "-S", "+res:256", "-o", str(video))
        _run([sys.executable, "-m", "yt_dlp", *handed, *chosen, f"https://www.youtube.com/watch?v={name}"])
        cut = ("-ss", str(clips.begins[name]), "-i", str(video), "-t", str(CLIP), *CUT, "-q:v", "2")
        _run([executable(), "-v", "error", "-threads", "1", *cut, str(place / "%05d.jpg")])
        video.unlink()

    with ThreadPoolExecutor(CORES) as workers:
        list(workers.map(one, clips.begins))


def by_decoding(clips: Set) -> None:
    """The time that every way needs at least."""

    def one(begins: int) -> None:
        cut = ("-ss", str(begins), "-i", str(clips.film), "-t", str(CLIP), *CUT)
        _run([executable(), "-v", "error", "-threads", "1", *cut, "-f", "null", "-"])

    with ThreadPoolExecutor(CORES) as workers:
        list(workers.map(one, clips.begins.values()))


def measure(what: str, youtube: LoopbackYouTube, clips: Set, work: Callable[[], None]) -> AcquireResult:
    youtube.begin()
    began = time.monotonic()
    work()
    ended, first = time.monotonic(), youtube.first or began
    return AcquireResult(what, len(clips.begins), first - began, ended - first, youtube.bytes_sent)


def acquire(folder: Path, clips: int, seconds: int) -> list[AcquireResult]:
    """All four ways, one after the other, over `clips` clips of videos of `seconds` seconds."""
    asked = render(folder, clips, seconds)
    with LoopbackYouTube(asked.film, WIDTH, HEIGHT, seconds) as youtube:
        ways: dict[str, Callable[[], None]] = {
            "sections": lambda: by_build(
                youtube, asked, folder / "sections", "--source", "youtube", "--proxy", youtube.url
            ),
            "mirror": lambda: by_build(
                youtube, asked, folder / "mirror", "--source", f"{youtube.url}/{{video_id}}.mp4"
            ),
            "commands": lambda: by_commands(youtube, asked, folder / "commands"),
            "decoding": lambda: by_decoding(asked),
        }
        return [measure(what, youtube, asked, work) for what, work in ways.items()]


def show(results: list[AcquireResult]) -> None:
    limit = results[-1]
    table = Table("way", "clips", "start s", "then s", "clips/s", "of the limit", "MB fetched", "kB/clip")
    for r in results:
        share = limit.wall / limit.clips * r.clips / r.wall
        table.add_row(
            r.what, str(r.clips), f"{r.start:.1f}", f"{r.wall:.1f}", f"{r.clips / r.wall:.2f}", f"{share:.0%}",
            f"{r.bytes / 1e6:.1f}", f"{r.bytes / 1e3 / r.clips:.0f}",
        )  # fmt: skip
    Console().print(table)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--seconds", type=int, default=120, help="length of each video")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="acquire") as name:
        show(acquire(Path(name), chosen.clips, chosen.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
