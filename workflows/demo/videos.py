"""Small labelled videos whose classes differ in motion alone.

A textured disc lies on a textured background, and moves, grows or turns. Textures, sizes and places are drawn anew for
each clip and paths are centred, so that a single frame says next to nothing of the class.
"""

from __future__ import annotations

import csv
import math
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.ffmpeg import executable

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
FORMATS = ((160, 120, "25"), (176, 144, "30"), (128, 96, "24"), (120, 160, "25"), (192, 108, "25/2"))
"""Width, height, frames a second. Their number and that of the classes have no common divisor: each class has each."""
CLIP_SECONDS = 2
VIDEO_SECONDS = 3
"""Longer than the clip, so that there is something to cut."""
MISSING_ID = "missing-id0"
"""Of a row of the annotations whose video does not exist."""
ENCODE_SECONDS = 60.0
"""A video takes a quarter of a second; a minute means that something is wrong."""

Frame = NDArray[np.uint8]
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """One video to render, and the clip of it that the annotations name."""

    number: int

    @property
    def label(self) -> str:
        return CLASSES[self.number % len(CLASSES)]

    @property
    def split(self) -> str:
        """Two of five clips of a class are for validation."""
        return "val" if self.number // len(CLASSES) % 5 in (1, 3) else "train"

    @property
    def video_id(self) -> str:
        """Eleven characters, as YouTube's."""
        return f"motion-{self.number:04d}"

    @property
    def start(self) -> int:
        """Seconds of the video at which the clip begins."""
        return self.number // 3 % (VIDEO_SECONDS - CLIP_SECONDS + 1)

    @property
    def end(self) -> int:
        return self.start + CLIP_SECONDS

    @property
    def format(self) -> tuple[int, int, str]:
        return FORMATS[self.number % len(FORMATS)]


def render_videos(folder: Path, count: int) -> list[Rendered]:
    """Writes `count` videos as {video_id}.mp4 (H.264) into `folder`; the same ones each time.

    Raises JobFailed when ffmpeg cannot write one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    videos = [Rendered(number) for number in range(count)]
    for video in videos:
        _encode(folder / f"{video.video_id}.mp4", video)
    return videos


def annotated(videos: Sequence[Rendered]) -> list[tuple[str, str, int, int, str]]:
    """The rows of the annotations: one for each video, one for a video that does not exist, one past a video's end."""
    rows = [(v.label, v.video_id, v.start, v.end, v.split) for v in videos]
    rows.append((CLASSES[0], MISSING_ID, 0, CLIP_SECONDS, "train"))
    rows.append((videos[1].label, videos[1].video_id, 60, 60 + CLIP_SECONDS, "train"))
    return rows


def write_annotations(path: Path, videos: Sequence[Rendered]) -> None:
    """Writes them as a Kinetics CSV."""
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("label", "youtube_id", "time_start", "time_end", "split"))
        writer.writerows(annotated(videos))


def frames_of(video: Rendered) -> Iterator[Frame]:
    """The frames of a video, uint8 RGB [H, W, 3]."""
    random = np.random.default_rng([26, video.number])
    width, height, rate = video.format
    fps = _per_second(rate)
    side = min(width, height)
    background = _texture(random, height, width, side / 16)
    pattern = _texture(random, 2 * side, 2 * side, side / 20)
    radius = side * random.uniform(0.26, 0.34)
    centre = np.array([width, height]) / 2 + random.uniform(-0.08, 0.08, 2) * side
    speed = random.uniform(0.85, 1.15)
    angle = random.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for k in range(round(VIDEO_SECONDS * fps)):
        # Time zero is the middle of the clip: paths are as long before it as after it.
        seconds = (k / fps - video.start - CLIP_SECONDS / 2) * speed
        place, scale, turned = _pose(video.label, seconds)
        dx, dy = x - (centre[0] + place[0] * side), y - (centre[1] + place[1] * side)
        cos, sin = math.cos(angle + turned) / scale, math.sin(angle + turned) / scale
        seen = cv2.remap(
            pattern,
            (cos * dx + sin * dy + side).astype(np.float32),
            (cos * dy - sin * dx + side).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        inside = np.clip(radius * scale - np.hypot(dx, dy) + 0.5, 0, 1)[..., None]
        grain = random.normal(0, 2, (height, width, 1)).astype(np.float32)
        yield np.clip(background + inside * (seen - background) + grain, 0, 255).astype(np.uint8)


def _pose(label: str, seconds: float) -> tuple[tuple[float, float], float, float]:
    """Where the disc is (in short sides from its centre), its scale and its angle (radians, clockwise)."""
    shift, growth, turn = 0.4 * seconds, math.exp(0.55 * seconds), 1.5 * seconds
    match label:
        case "moving left":
            return (-shift, 0.0), 1.0, 0.0
        case "moving right":
            return (shift, 0.0), 1.0, 0.0
        case "moving up":
            return (0.0, -shift), 1.0, 0.0
        case "moving down":
            return (0.0, shift), 1.0, 0.0
        case "growing":
            return (0.0, 0.0), growth, 0.0
        case "shrinking":
            return (0.0, 0.0), 1 / growth, 0.0
        case "turning left":
            return (0.0, 0.0), 1.0, -turn
        case "turning right":
            return (0.0, 0.0), 1.0, turn
    raise ValueError(label)


def _texture(random: np.random.Generator, height: int, width: int, grain: float) -> Numbers:
    """Blobs about `grain` pixels wide in shades of one drawn colour, float32 [height, width, 3]."""

    def blobs(channels: int, size: float) -> Any:
        noise: Any = random.normal(size=(height, width, channels)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), size / 2).reshape(noise.shape)
        return smooth / smooth.std()

    colour = random.uniform(70, 185, 3)
    return np.asarray(
        np.clip(colour + 34 * blobs(1, grain) + 18 * blobs(1, grain / 2) + 12 * blobs(3, grain), 0, 255), np.float32
    )


def _encode(path: Path, video: Rendered) -> None:
    width, height, rate = video.format
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"]
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-threads", "1", "-pix_fmt", "yuv420p"]
    command = [executable(), "-y", "-hide_banner", "-nostats", "-v", "error", *source, *coding]
    pixels = b"".join(frame.tobytes() for frame in frames_of(video))
    done = subprocess.run(
        [*command, "-movflags", "+faststart", str(path)],
        input=pixels,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=ENCODE_SECONDS,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines() or [f"exit code {done.returncode}"]
        raise JobFailed(f"ffmpeg could not write {path}: {said[-1]}")


def _per_second(rate: str) -> float:
    numerator, _, denominator = rate.partition("/")
    return float(numerator) / float(denominator or 1)
