"""Small labelled videos whose classes differ in motion alone.

A bright textured disc lies on a dark background, and moves, grows or turns. Textures, colours, sizes and places are
drawn at random for each clip. A disc that does not move is shifted, and one that does not grow is scaled, as if it had
done so for a random time: discs of every class have the same places and sizes, and a single frame does not tell the
class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.workflows.demo.videos import CLASSES, encode, moved, per_second, write_rows

FORMATS = ((160, 120, "25"), (176, 144, "30"), (128, 96, "24"), (120, 160, "25"), (192, 108, "25/2"))
"""Width, height, frames a second. Five and the eight classes have no common divisor: every class gets every format."""
CLIP_SECONDS = 2
VIDEO_SECONDS = 3
"""Longer than the clip, so that there is something to cut."""

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
        encode(folder / f"{video.video_id}.mp4", video.format, frames_of(video))
    return videos


def write_annotations(path: Path, videos: Sequence[Rendered]) -> None:
    """Writes a row for each video as a Kinetics CSV."""
    write_rows(path, [(v.label, v.video_id, v.start, v.end, v.split) for v in videos])


def frames_of(video: Rendered) -> Iterator[Frame]:
    """The frames of a video, uint8 RGB [H, W, 3]."""
    random = np.random.default_rng([26, video.number])
    width, height, rate = video.format
    fps = per_second(rate)
    side = min(width, height)
    ground = _texture(random, height, width, side / 8, light=60, contrast=14)
    pattern = _texture(random, 2 * side, 2 * side, side / 6, light=175, contrast=32)
    radius = side * random.uniform(0.26, 0.34)
    centre = np.array([width, height]) / 2 + random.uniform(-0.05, 0.05, 2) * side
    speed = random.uniform(0.85, 1.15)
    angle = random.uniform(0, 2 * math.pi)
    moment = random.uniform(-1, 1, 3) * speed
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for k in range(round(VIDEO_SECONDS * fps)):
        # Time zero is the middle of the clip: paths are as long before it as after it.
        seconds = (k / fps - video.start - CLIP_SECONDS / 2) * speed
        place, scale, turned = _pose(video.label, seconds, moment.tolist())
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
        yield np.clip(ground + inside * (seen - ground) + grain, 0, 255).astype(np.uint8)


def _pose(label: str, seconds: float, moment: Sequence[float]) -> tuple[tuple[float, float], float, float]:
    """Where the disc is (in short sides from its centre), its scale and its angle (radians, clockwise).

    `moment`: the random times, in seconds, that stand for moving right, moving down and growing in the other classes.
    """
    right, down, growing, turning = moved(label, seconds, moment)
    return (0.3 * right, 0.3 * down), math.exp(0.5 * growing), 2.2 * turning


def _texture(
    random: np.random.Generator, height: int, width: int, grain: float, light: float, contrast: float
) -> Numbers:
    """A random pattern: float32 [height, width, 3], shades of one random colour of lightness `light`, with blobs about
    `grain` pixels wide and finer ones, whose motion flow can follow."""

    def blobs(channels: int, size: float) -> Any:
        noise: Any = random.normal(size=(height, width, channels)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), size / 2).reshape(noise.shape)
        return np.clip(smooth / smooth.std(), -1.6, 1.6)

    colour = light + random.uniform(-15, 15) + random.uniform(-20, 20, 3)
    shades = 0.8 * blobs(1, grain) + 0.5 * blobs(1, grain / 3) + 0.3 * blobs(3, grain)
    return np.asarray(np.clip(colour + contrast * shades, 0, 255), np.float32)
