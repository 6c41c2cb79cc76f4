"""Writes `exact.mkv` beside itself: 30 lossless RGB pictures of 48x32, 25 a second. Nothing in them is scaled or
converted when they are read at a short side of 32, so that every ffmpeg gives the same bytes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.builders.videos import ffmpeg

HEIGHT, WIDTH, FRAMES = 32, 48, 30


def pictures() -> NDArray[np.uint8]:
    """uint8 [30, 32, 48, 3]: slopes that move, without floating point."""
    t, y, x = np.ogrid[:FRAMES, :HEIGHT, :WIDTH]
    planes = (5 * x + 3 * y + 7 * t, 2 * x - 4 * y - 3 * t, (x // 8 + y // 8 + t // 5) % 2 * 120 + t)
    return np.stack([plane % 256 for plane in planes], axis=-1).astype(np.uint8)


if __name__ == "__main__":
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-")
    to = Path(__file__).with_name("exact.mkv")
    exact = ("-c:v", "ffv1", "-level", "3", "-coder", "1", "-context", "1", "-pix_fmt", "gbrp", "-fflags", "+bitexact")
    ffmpeg(*raw, *exact, "-flags:v", "+bitexact", to, stdin=pictures().tobytes())
