"""Which frames and which crop of a clip a sample takes: from (seed, epoch, clip) alone, whoever loads it."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.windows import window_frames

WHOLE_CLIP = 250
"""Frames of ten seconds at 25 fps, which I3D is tested on (Carreira & Zisserman 2017, section 3.4)."""


@dataclass(frozen=True)
class Snippet:
    frames: NDArray[np.int64]
    """[T], numbers of the clip's frames; a clip that is too short is looped."""
    top: int
    left: int
    height: int
    width: int
    flip: bool


def places(available: int, frames: int | None, stride: int) -> int:
    """The number of places where a snippet can start; 1 where it takes the whole clip or is longer than that."""
    return 1 if frames is None else max(available - (frames - 1) * stride - 1, 0) + 1


def frame_numbers(available: int, frames: int | None, stride: int, start: int) -> NDArray[np.int64]:
    """The frames of a snippet that starts at frame `start`.

    `frames` is how many, every `stride`-th; None for the whole clip, of which the middle `WHOLE_CLIP` count when it has
    more. A clip that ends before is looped.
    """
    if frames is None:
        numbers = np.arange(0, available, stride)
        first = max(len(numbers) - WHOLE_CLIP, 0) // 2
        return numbers[first : first + WHOLE_CLIP]
    return window_frames(start, frames, available, stride)


def random_snippet(
    key: tuple[int, int, str],
    available: int,
    height: int,
    width: int,
    frames: int | None,
    stride: int,
    crop: int | None,
) -> Snippet:
    """A snippet for training. `key` is (seed, epoch, clip_id); `available`, `height`, `width` are the clip's."""
    seed, epoch, clip_id = key
    digest = hashlib.blake2b(f"{seed} {epoch} {clip_id}".encode(), digest_size=32).digest()
    # 53 bits each, as a float has: uniform in [0, 1), and the same with every version of every library.
    start, top, left, flip = (word / 2**53 for word in (w >> 11 for w in struct.unpack("<4Q", digest)))
    high, wide = (height, width) if crop is None else (crop, crop)
    return Snippet(
        frame_numbers(available, frames, stride, int(start * places(available, frames, stride))),
        int(top * (height - high + 1)),
        int(left * (width - wide + 1)),
        high,
        wide,
        flip < 0.5,
    )


def central_snippet(
    available: int, height: int, width: int, frames: int | None, stride: int, crop: int | None
) -> Snippet:
    """The snippet in the middle of the clip and of its frames, for evaluation."""
    high, wide = (height, width) if crop is None else (crop, crop)
    numbers = frame_numbers(available, frames, stride, (places(available, frames, stride) - 1) // 2)
    return Snippet(numbers, (height - high) // 2, (width - wide) // 2, high, wide, False)
