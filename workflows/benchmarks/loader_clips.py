"""The clips that formats are compared on: ten seconds, short side 256, with flow; drawn, or cut from real videos."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.video.frames import TooShort, read_clip

FPS, SECONDS = 25, 10
FRAMES = FPS * SECONDS
HEIGHT, WIDTH = 256, 340
Frames = NDArray[np.uint8]


def drawn_clip(number: int) -> Frames:
    """uint8 [250, 256, 340, 3]: a panning, zooming background, four things that cross it, and a sensor's noise.

    Textures have the falling spectrum of natural pictures (Field 1987), a little steeper, as video is; things have hard
    edges. JPEGs and flow are about as large as those of real clips: 4 and 1.2 MB at quality 90.
    """
    random = np.random.default_rng(number)
    background = _texture(random, 768)
    things = [(_texture(random, 256), *random.uniform(-2, 2, 2), *random.uniform(0.2, 0.8, 2)) for _ in range(4)]
    pan, zoom = random.uniform(-0.6, 0.6, 2), random.uniform(-0.001, 0.001)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    disc = (x**2 + (1.4 * y) ** 2 < 0.2).astype(np.uint8) * 255
    noise = random.normal(0, 1.5, (8, HEIGHT, WIDTH, 3)).astype(np.float32)
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(FRAMES):
        scale = 1 + zoom * t
        shift = [[scale, 0, -210 + pan[0] * t], [0, scale, -250 + pan[1] * t]]
        frame = cv2.warpAffine(background, np.array(shift), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        for picture, right, down, across, along in things:
            move = np.array(
                [[1, 0, across * WIDTH - 128 + right * (t - 125)], [0, 1, along * HEIGHT - 128 + down * (t - 125)]]
            )
            there = cv2.warpAffine(disc, move, (WIDTH, HEIGHT)) > 127
            frame[there] = cv2.warpAffine(picture, move, (WIDTH, HEIGHT))[there]
        frames[t] = np.clip(frame + np.roll(noise[t % 8], 37 * t, axis=1), 0, 255)
    return frames


def _texture(random: np.random.Generator, size: int) -> NDArray[np.uint8]:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    frequency[0, 0] = np.inf
    tone, *colours = (
        np.fft.irfft2(np.fft.rfft2(random.normal(size=(size, size))) / frequency ** (1.6 if k == 0 else 2))
        for k in range(4)
    )
    channels = [tone / tone.std() + 0.4 * colour / colour.std() + random.normal(0, 0.3) for colour in colours]
    texture: Frames = np.clip(128 + 45 * np.stack(channels, axis=-1), 0, 255).astype(np.uint8)
    return texture


def cut_clips(folder: Path, count: int) -> Iterator[Frames]:
    """Up to `count` pieces of ten seconds of the videos in a folder. Raises UserError when it holds none."""
    found = 0
    for path in sorted(path for path in folder.rglob("*") if is_video(path.name)):
        for start in range(0, 3600, SECONDS):
            try:
                frames = read_clip(path, start, start + SECONDS, FPS, HEIGHT)
            except TooShort:
                break
            if len(frames) < FRAMES:
                break
            yield frames
            if (found := found + 1) == count:
                return
    if not found:
        raise UserError(f"{folder} holds no video of {SECONDS} seconds or more")


def flow_of(frames: Frames) -> NDArray[np.float32]:
    """float32 [T, 2, H, W], px: dense inverse search, as rough as any estimate and much faster than TV-L1."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = [search.calc(one, other, None) for one, other in pairwise(grey)]  # type: ignore[call-overload]
    return np.ascontiguousarray(np.stack([*flow, flow[-1]]).transpose(0, 3, 1, 2))


def encode_mp4(frames: Frames, path: Path) -> None:
    """H.264 as ffmpeg makes it when nothing is said, as in most copies of Kinetics: crf 23, key frames 250 apart."""
    _, height, width, _ = frames.shape
    command = [executable(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(FPS), "-i", "-", "-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, "-y", str(path)], input=frames.tobytes(), check=True)
