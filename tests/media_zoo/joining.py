"""Files of several pieces, of several streams, and damaged ones: made from rendered files byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.builders.videos import H264, draw, ffmpeg
from tests.media_zoo.rendering import Make

TS = (*H264, "-bf", "2")


def piece(
    path: Path, first: int, count: int, options: Sequence[str | float] = TS, width: int = 160, height: int = 120
) -> Path:
    """A file with frames `first` to `first + count` of a film of 25 fps, the clock from zero."""
    frames = list(draw(width, height, first + count))[first:]
    pixels = b"".join(frame.tobytes() for frame in frames)
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", 25, "-i", "-")
    ffmpeg(*source, "-threads", 1, *options, path, stdin=pixels)
    return path


def joined(*options: Sequence[str | float], strip: int = 0, sizes: Sequence[tuple[int, int]] = ()) -> Make:
    """Pieces of a second each, one after the other as bytes; of all but the first `strip` bytes are left out."""

    def make(path: Path) -> None:
        data = b""
        for number, some in enumerate(options):
            width, height = sizes[number] if sizes else (160, 120)
            part = piece(path.with_name(f"piece of {path.name}"), 25 * number, 25, some, width, height)
            data += part.read_bytes()[strip if number else 0 :]
            part.unlink()
        path.write_bytes(data)

    return make


def marked(make: Make) -> Make:
    """A transport stream whose second key picture is marked: the clock starts again (`discontinuity_indicator`)."""

    def marking(path: Path) -> None:
        make(path)
        data = bytearray(path.read_bytes())
        adapted = [k for k in range(0, len(data), 188) if data[k + 3] & 0x20 and data[k + 4] > 0]
        keys = [k for k in adapted if data[k + 5] & 0x40]
        data[keys[1] + 5] |= 0x80
        path.write_bytes(data)

    return marking


def with_streams(options: Sequence[str | float], *inputs: Sequence[str | float]) -> Make:
    """A film of two seconds and other inputs in one file; the film is the last input."""

    def make(path: Path) -> None:
        film = piece(path.with_name(f"film of {path.stem}.mkv"), 0, 50)
        ffmpeg(*(word for some in inputs for word in some), "-i", film, *options, path)
        film.unlink()

    return make


def damaged(make: Make, *, keep: float = 1.0, noise: tuple[float, float] | None = None, drop: int = 0) -> Make:
    """A file cut off after a part of it, with noise from one part to another, or without a run of TS packets."""

    def damaging(path: Path) -> None:
        make(path)
        data = bytearray(path.read_bytes())
        if noise:
            first, last = (round(len(data) * part) for part in noise)
            data[first:last] = np.random.default_rng(0).bytes(last - first)
        if drop:
            middle = len(data) // 2 // 188 * 188
            del data[middle : middle + drop * 188]
        path.write_bytes(data[: round(len(data) * keep)])

    return damaging


def words(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)
