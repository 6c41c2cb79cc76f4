"""Tiny videos for the tests: a moving texture whose every frame carries its own number, encoded by the real ffmpeg."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

Motion = Literal["left", "right", "up", "down", "grow", "shrink", "turn", "still"]
NUMBER_BITS = 10
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-g", "25", "-pix_fmt", "yuv420p")


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> None:
    """Runs ffmpeg, single-threaded so that bytes repeat, and fails on its first error."""
    line = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-hide_banner", "-nostats", "-v", "error", *map(str, arguments)]
    done = subprocess.run(line, input=stdin or b"", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def draw(
    width: int,
    height: int,
    count: int,
    motion: Motion = "right",
    speed: float = 1.0,
    seed: int = 0,
    number: bool = True,
) -> Iterator[NDArray[np.uint8]]:
    """`count` frames, uint8 RGB [H, W, 3]: a smooth texture that moves by `speed` pixels a frame (degrees for `turn`,
    percent for `grow` and `shrink`), with the frame's number as black and white blocks along the upper edge."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), max(2.0, min(width, height) / 40))
    texture = np.clip(128 + 50 * texture / texture.std(), 0, 255).astype(np.uint8)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cy, cx = (height - 1) / 2, (width - 1) / 2
    for k in range(count):
        d = speed * k
        shift = {"left": (d, 0), "right": (-d, 0), "up": (0, d), "down": (0, -d)}.get(motion, (0, 0))
        angle = np.deg2rad(d) if motion == "turn" else 0.0
        scale = (1 + d / 100) ** {"grow": -1, "shrink": 1}.get(motion, 0)
        u, v = (x - cx) * scale, (y - cy) * scale
        map_x = np.cos(angle) * u - np.sin(angle) * v + cx + shift[0]
        map_y = np.sin(angle) * u + np.cos(angle) * v + cy + shift[1]
        frame = cv2.remap(
            texture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        if number:
            for bit, (left, right) in enumerate(_blocks(width)):
                frame[: height // 6, left:right] = 255 * (k >> bit & 1)
        yield frame


def number_of(frame: NDArray[np.uint8]) -> int:
    """The number that `draw` put on a frame, also after scaling and compression."""
    height, width = frame.shape[:2]
    strip = frame[height // 24 : height // 8].mean(axis=(0, 2))
    return sum(
        int(strip[left + (right - left) // 4 : right - (right - left) // 4].mean() > 128) << bit
        for bit, (left, right) in enumerate(_blocks(width))
    )


def numbers_of(frames: NDArray[np.uint8]) -> list[int]:
    return [number_of(frame) for frame in frames]


def _blocks(width: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, width, NUMBER_BITS + 1).round().astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def render(
    path: Path,
    *,
    width: int = 160,
    height: int = 120,
    fps: float | str = 25,
    seconds: float = 2.0,
    motion: Motion = "right",
    speed: float = 1.0,
    seed: int = 0,
    number: bool = True,
    codec: Sequence[str] = H264,
    extra: Sequence[str] = (),
    inputs: Sequence[str | Path] = (),
) -> Path:
    """Writes a video to `path`, whose suffix chooses the container.

    `codec` and `extra` are ffmpeg's output options, `inputs` further inputs (sound, say) before them.
    """
    numerator, _, denominator = str(fps).partition("/")
    count = round(seconds * float(numerator) / float(denominator or 1))
    pixels = b"".join(f.tobytes() for f in draw(width, height, count, motion, speed, seed, number))
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-")
    ffmpeg(*source, *inputs, "-threads", "1", *codec, *extra, path, stdin=pixels)
    return path


@dataclass(frozen=True)
class Videos:
    """Renders each video once a session (fixture `videos`): `videos(width=.., fps=.., ...) -> Path`, see `render`."""

    folder: Path

    def __call__(self, suffix: str = ".mp4", **what: object) -> Path:
        key = hashlib.sha256(repr((suffix, sorted(what.items()))).encode()).hexdigest()[:16]
        path = self.folder / f"{key}{suffix}"
        return path if path.exists() else render(path, **what)  # type: ignore[arg-type]
