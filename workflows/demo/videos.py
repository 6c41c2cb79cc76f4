"""Small labelled videos whose classes are motions.

A video has three shots of two seconds, each of another scene that moves, grows or turns as a whole; the annotations
name the first second of each shot. Shapes, places and sizes are drawn at random: scenes that do not grow are scaled as
if they had done so for a random time. The colour of the ground is a hint, as scenery is in real videos: each class has
a hue that its clips are near to, and neighbours overlap.
"""

from __future__ import annotations

import csv
import math
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.demo.scene import Frame, Pose, Scene

CLASSES = (
    "growing",
    "moving down",
    "moving left",
    "moving right",
    "moving up",
    "shrinking",
    "turning left",
    "turning right",
)
FORMATS = ((96, 72, "25"), (80, 60, "30"), (64, 48, "24"), (72, 96, "25"), (112, 64, "30"))
"""Width, height, frames a second. Five and the eight classes have no common divisor: every class gets every format."""
SHOTS = 3
"""Shots of a video; three and the eight classes have no common divisor: eight videos have three of every class."""
SHOT_SECONDS = 2
CLIP_SECONDS = 1
"""Less than the shot, so that there is something to cut, and the frame after the clip is of the same shot."""
VIDEO_SECONDS = SHOTS * SHOT_SECONDS
SPEED, GROWTH, TURN = 1.2, 1.6, 2.4
"""A second's movement in short sides of the frame, growth as a power of e, and turn in radians."""
HUE_SPREAD = 0.03
"""Standard deviation of a clip's hue, in turns of the colour wheel; the hues of two classes are an eighth apart."""
MISSING_ID = "missing-id0"
"""The video id of a row of the annotations whose video does not exist."""
ENCODE_SECONDS = 60.0
"""A video takes a quarter of a second; a minute means that something is wrong."""


@dataclass(frozen=True)
class Rendered:
    """One clip to render: a shot of a video, of which the annotations name the first second."""

    number: int
    seed: int = 0

    @property
    def label(self) -> str:
        return CLASSES[self.number % len(CLASSES)]

    @property
    def video(self) -> int:
        return self.number // SHOTS

    @property
    def split(self) -> str:
        """For validation are two of every seven times eight videos, which have 21 clips of every class."""
        return "val" if self.video // len(CLASSES) % 7 in (1, 4) else "train"

    @property
    def video_id(self) -> str:
        """Eleven characters, as YouTube's."""
        return f"motion-{self.video:04d}"

    @property
    def start(self) -> int:
        """Seconds of the video at which the clip begins."""
        return self.number % SHOTS * SHOT_SECONDS

    @property
    def end(self) -> int:
        return self.start + CLIP_SECONDS

    @property
    def format(self) -> tuple[int, int, str]:
        return FORMATS[self.video % len(FORMATS)]


def render_videos(folder: Path, count: int, seed: int = 0) -> list[Rendered]:
    """Writes `count` clips in videos {video_id}.mp4 (H.264) into `folder`; the same ones each time for a seed.

    Raises JobFailed when ffmpeg cannot write one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = [Rendered(number, seed) for number in range(count)]
    videos = [clips[first : first + SHOTS] for first in range(0, count, SHOTS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda shots: _render(folder, shots), videos))
    return clips


def _render(folder: Path, shots: Sequence[Rendered]) -> None:
    encode(folder / f"{shots[0].video_id}.mp4", shots[0].format, chain.from_iterable(map(frames_of, shots)))


def annotated(clips: Sequence[Rendered]) -> list[tuple[str, str, int, int, str]]:
    """The rows of the annotations: one for each clip, one of a video that does not exist, one after a video's end."""
    rows = [(c.label, c.video_id, c.start, c.end, c.split) for c in clips]
    rows.append((CLASSES[0], MISSING_ID, 0, CLIP_SECONDS, "train"))
    rows.append((clips[1].label, clips[1].video_id, 60, 60 + CLIP_SECONDS, "train"))
    return rows


def write_annotations(path: Path, clips: Sequence[Rendered]) -> None:
    """Writes the rows of `annotated` as a Kinetics CSV."""
    write_rows(path, annotated(clips))


def write_rows(path: Path, rows: Sequence[tuple[str, str, int, int, str]]) -> None:
    """Writes (label, video id, start, end, split) as a Kinetics CSV."""
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("label", "youtube_id", "time_start", "time_end", "split"))
        writer.writerows(rows)


def frames_of(clip: Rendered) -> Iterator[Frame]:
    """The frames of a clip's shot, uint8 RGB [H, W, 3], in its format's size and rate."""
    width, height, rate = clip.format
    fps = per_second(rate)
    yield from map(drawing(clip, (width, height)), (k / fps for k in range(round(SHOT_SECONDS * fps))))


def drawing(clip: Rendered, size: tuple[int, int]) -> Callable[[float], Frame]:
    """What draws the frame of a clip's shot at a time (seconds from its start), in `size` (width, height)."""
    random = np.random.default_rng([26, clip.seed, clip.number])
    hue = CLASSES.index(clip.label) / len(CLASSES) + random.normal(0, HUE_SPREAD)
    scene = Scene(random, *size, hue)
    speed = random.uniform(0.85, 1.15)
    moment = random.uniform(-CLIP_SECONDS / 2, CLIP_SECONDS / 2) * speed
    # Time zero of a path is the middle of the clip: paths are as long before it as after it.
    return lambda seconds: scene.frame(pose(clip.label, (seconds - CLIP_SECONDS / 2) * speed, moment))


def pose(label: str, seconds: float, moment: float) -> Pose:
    """How a scene of a class lies at a time. `moment`: the random time that stands for growing in the other classes."""
    right, down, growing, turning = moved(label, seconds, (0.0, 0.0, moment))
    return Pose((SPEED * right, SPEED * down), math.exp(GROWTH * growing), TURN * turning)


def moved(label: str, seconds: float, otherwise: Sequence[float]) -> tuple[float, float, float, float]:
    """For how many seconds a thing of a class has moved right and down, grown, and turned right; what it does not do
    of the first three it has done for as long as `otherwise` says."""
    right, down, growing = otherwise
    turning = 0.0
    match label:
        case "moving left":
            right = -seconds
        case "moving right":
            right = seconds
        case "moving up":
            down = -seconds
        case "moving down":
            down = seconds
        case "growing":
            growing = seconds
        case "shrinking":
            growing = -seconds
        case "turning left":
            turning = -seconds
        case "turning right":
            turning = seconds
    return right, down, growing, turning


def encode(path: Path, format: tuple[int, int, str], frames: Iterable[Frame]) -> None:
    """Writes uint8 RGB frames as H.264 in `format` (width, height, rate). Raises JobFailed when ffmpeg cannot."""
    width, height, rate = format
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"]
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-threads", "1", "-pix_fmt", "yuv420p"]
    command = [executable(), "-y", "-hide_banner", "-nostats", "-v", "error", *source, *coding]
    pixels = b"".join(frame.tobytes() for frame in frames)
    done = subprocess.run(
        [*command, "-movflags", "+faststart", str(path)],
        input=pixels,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=ENCODE_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines() or [f"exit code {done.returncode}"]
        raise JobFailed(f"ffmpeg could not write {path}: {lines[-1]}")


def per_second(rate: str) -> float:
    """Frames a second of a rate as ffmpeg writes it."""
    numerator, _, denominator = rate.partition("/")
    return float(numerator) / float(denominator or 1)
