"""The shape in which each picture of a stream is shown: streams change their size, cameras are turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.video.container import Container
from kinetics_pipeline.video.ffmpeg import command, running, untrusted_input

SAME_SHAPE = 1.02
"""Shapes whose ratio is less are the same: encoders round sizes to whole blocks."""
_FINE = 5000


def shapes_of_frames(
    path: Path, container: Container, options: dict[str, Any], last: int, timeout: float
) -> NDArray[np.float64]:
    """Width over height, as shown, of each frame that the decoder gives up to number `last`.

    ffmpeg scales each frame to one row of a length that is its shape, and reports the rows' lengths. Raises
    TimeoutError.
    """
    row = f"min(max(1,round({_FINE}*iw*sar/ih)),{100 * _FINE})"
    frames = (
        untrusted_input(path, **options, reinit_filter=0, threads=1)[str(container.video.index)]
        .filter("scale", w=row, h=1, eval="frame", flags="neighbor")
        .filter("format", "gray")
        .filter("setpts", "N")
    )
    report = {"stats_enc_post": "pipe:shapes", "stats_enc_post_fmt": "{size}", "frames:v": last + 1}
    line = command(frames.output("-", format="null", vcodec="rawvideo", fps_mode="passthrough", **report), "fatal")
    lengths: list[int] = []
    with running(line, timeout, {"shapes": lambda text: lengths.append(int(text))}) as run:
        run.stdout.read()
    return np.array(lengths) / _FINE


def size_of_shape(shape: float, short_side: int) -> tuple[int, int]:
    """Width and height of frames of this shape."""
    if shape < 1:
        return short_side, int(short_side / shape + 0.5)
    return int(short_side * shape + 0.5), short_side
