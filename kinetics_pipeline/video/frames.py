"""Frames of a piece of a video: cut on one time grid, at one frame rate, with one short side.

**The grid.** Frame k shows what is on the screen at the video's time `start + k / fps`: the last frame whose time
stamp is not later (by more than `TOLERANCE`, for containers that round time stamps to a millisecond). The cut is made
on absolute time stamps, so a whole file, a section of it that kept its time stamps, and a fast and a slow seek give the
same frames. A clock that starts again in the middle of a file is mended first (`clock`).

**The size.** ffmpeg turns the picture as its rotation says and stretches it to square pixels; then the short side
becomes `short_side`, and the long side the nearest whole number of pixels (halves away from zero, odd ones included),
all in one step of interpolation. Interlaced frames are deinterlaced (bwdif, a frame for each frame). HDR is not
tone-mapped. Pictures of another resolution and the same shape come out at the same size.

**What counts as broken.** ffmpeg ends with 0 after almost any damage, so its messages and the number of frames decide:
an error of the demuxer or the video's decoder, fewer frames than the container claims, a packet that became no frame,
or pictures whose shape changes within the clip.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Interpolation
from kinetics_pipeline.video.container import BrokenVideo, VideoStream, inspect
from kinetics_pipeline.video.decoding import Complaint, Decoding, Request, TooShort

__all__ = ["BrokenVideo", "TooShort", "read_clip", "read_frames"]

MOST_FPS = 240.0
NATIVE = 25.0
"""Frames a second of a video whose header does not say."""
MAX_BYTES = 4 << 30
"""Frames of one clip in memory: 10 minutes at 340x256, 25 fps."""
KEPT_BYTES = 256 << 20
"""Bytes of memory for frames that a thread keeps from clip to clip at most."""


class ReadOptions(TypedDict, total=False):
    """More arguments of `read_clip`, by name; its docstring says what each does."""

    offset: float
    duration: float | None
    aspect: float | None
    interpolation: str
    timeout: float


def read_clip(
    path: str | PathLike[str],
    start: float | None,
    end: float | None,
    fps: float = 25,
    short_side: int = 256,
    lookahead: int = 0,
    *,
    notes: list[str] | None = None,
    streams: list[VideoStream] | None = None,
    **options: Unpack[ReadOptions],
) -> NDArray[np.uint8]:
    """The frames of a clip, uint8 RGB [T, H, W, 3] with min(H, W) = `short_side`.

    `start` and `end` are seconds of the video; None is its first frame, and its end. T is `round((end - start) * fps)`,
    less where the video does not hold the whole clip. `lookahead` frames that follow the clip are appended where the
    video has them; the first T are the same with or without.

    `offset` is the video's time at the file's time zero, `duration` the length in seconds of the whole video where the
    file is a section and does not know (see `sources.base.Media`). `aspect` is width to height as the picture is to be
    shown, where it is known better than the file says it. `timeout` is wall-clock seconds for everything (300).
    `notes` gets a line for each choice that was made: which of several streams, a clock that was mended; and for a
    picture that is smaller than `short_side`. `streams` gets the stream that the frames are of.

    Raises BrokenVideo, TooShort (the file is sound and holds less than half of the clip), TimeoutError, OSError for a
    file that is not there or may not be read, and UserError for arguments that no video can satisfy.
    """
    decoding = Decoding.of(_request(path, start, end, fps, short_side, lookahead, **options))
    while True:
        memory = _Memory(decoding.cut.most)
        try:
            count = sum(1 for _ in decoding.frames(memory.room))
        except Complaint as complaint:
            decoding = decoding.otherwise(complaint)
            continue
        if notes is not None:
            notes += decoding.notes()
        if streams is not None:
            streams.append(decoding.container.video)
        return memory.frames[:count]


def read_frames(
    path: str | PathLike[str],
    start: float | None = None,
    end: float | None = None,
    fps: float = 25,
    short_side: int = 256,
    lookahead: int = 0,
    **options: Unpack[ReadOptions],
) -> Iterator[NDArray[np.uint8]]:
    """The frames of `read_clip` one after the other, uint8 RGB [H, W, 3] each, in memory that does not grow.

    The arguments are those of `read_clip`. Raises what `read_clip` raises; but damage may be known only at the end, so
    frames are sound once the iterator has ended without an exception.
    """
    decoding = Decoding.of(_request(path, start, end, fps, short_side, lookahead, **options))
    yielded = 0
    given: list[int] = []  # checksums: a second attempt must give the frames that the first one gave
    while True:
        try:
            for number, frame in enumerate(decoding.frames(lambda _, shape: np.empty(shape, np.uint8))):
                if number >= len(given):
                    if decoding.seeks:  # the only case of a second attempt that may give the same frames
                        given.append(zlib.crc32(frame.data))
                    yield frame
                    yielded += 1
                elif zlib.crc32(frame.data) != given[number]:
                    raise BrokenVideo(f"frame {number} is another when the file is decoded from its beginning")
            return
        except Complaint as complaint:
            decoding = decoding.otherwise(complaint)
            if yielded > len(given):  # another attempt would give all frames again
                raise BrokenVideo(f"{complaint}; read_clip may read it in another way") from complaint


class Again(Exception):
    """The frames so far are void, and the next pass over the video decodes it in another way."""


class WholeVideo:
    """A whole video for one pass after the other over its frames, in memory that does not grow.

    `fps` is frames a second of the grid, None for the video's own (`native`). `interpolation` and `timeout` (seconds,
    for all passes) are `read_clip`'s. Raises what `read_clip` raises.
    """

    def __init__(
        self, path: str | PathLike[str], fps: float | None, short_side: int, interpolation: str, timeout: float
    ) -> None:
        container = inspect(Path(path), min(timeout, 300.0))
        self.fps = fps or min(container.video.rate or NATIVE, MOST_FPS)
        """Frames a second."""
        options: ReadOptions = {"interpolation": interpolation, "timeout": timeout}
        request = _request(path, None, None, self.fps, short_side, 0, **options)
        self._decoding = Decoding.of(request, container)
        self.expected = 0 if container.end is None else max(0, round((container.end - container.start) * request.rate))
        """How many frames there may be, as the header says; 0 where it says nothing."""

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The frames, uint8 RGB [H, W, 3] each. Raises Again where they are void and another pass may do better."""
        try:
            yield from self._decoding.frames(lambda _, shape: np.empty(shape, np.uint8))
        except Complaint as complaint:
            self._decoding = self._decoding.otherwise(complaint)
            raise Again(str(complaint)) from complaint


def _request(
    path: str | PathLike[str],
    start: float | None,
    end: float | None,
    fps: float,
    short_side: int,
    lookahead: int,
    **options: Unpack[ReadOptions],
) -> Request:
    if unknown := options.keys() - ReadOptions.__annotations__.keys():
        raise TypeError(f"{min(unknown)} is not an argument; allowed: {', '.join(ReadOptions.__annotations__)}")
    if start is not None and end is not None and not 0 <= start < end < math.inf:
        raise UserError(f"a clip from {start} to {end} s; allowed: 0 <= start < end")
    if not 0 < fps <= MOST_FPS:
        raise UserError(f"fps is {fps}; allowed: more than 0 and at most {MOST_FPS:g}")
    interpolation = options.get("interpolation", "bilinear")
    if interpolation not in get_args(Interpolation):
        raise UserError(f"interpolation is {interpolation!r}; allowed: {', '.join(get_args(Interpolation))}")
    return Request(
        path=Path(path),
        start=start,
        end=end,
        rate=Fraction(fps).limit_denominator(1001),
        short_side=short_side,
        lookahead=lookahead,
        offset=options.get("offset", 0.0),
        duration=options.get("duration"),
        aspect=options.get("aspect"),
        interpolation=interpolation,
        deadline=time.monotonic() + options.get("timeout", 300.0),
    )


class _Memory:
    """One array for all frames of a clip: of the right length where it is known, else growing."""

    def __init__(self, most: int | None) -> None:
        self.frames: NDArray[np.uint8] = np.empty((0, 1, 1, 3), np.uint8)
        self._most = most

    def room(self, number: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The place of frame `number`. Raises BrokenVideo when frames change their size or are too many."""
        if number == 0:
            most = self._most
            self.frames = _room((min(most or 64, 1024), *shape), grows=most is None or most > 1024)
        elif self.frames.shape[1:] != shape:
            was, now = self.frames.shape[1:], shape
            raise BrokenVideo(f"the shape of the picture changes, from {was[1]}x{was[0]} to {now[1]}x{now[0]}")
        if number == len(self.frames):
            self.frames.resize((2 * number, *shape), refcheck=False)
        if (number + 1) * self.frames[0].nbytes > MAX_BYTES:
            raise BrokenVideo(f"more than {MAX_BYTES >> 30} GiB of frames: a piece of this video can be used, not all")
        place: NDArray[np.uint8] = self.frames[number]
        return place


_of_thread = threading.local()


def _room(shape: tuple[int, int, int, int], *, grows: bool) -> NDArray[np.uint8]:
    """Memory for frames: this thread's last, when it is large enough and nobody holds those frames any more. Fresh
    memory is paid for page by page, which takes longer than filling it. What `grows` has to be its own."""
    size = math.prod(shape)
    if grows or size > KEPT_BYTES:
        return np.empty(shape, np.uint8)
    block, lent = getattr(_of_thread, "block", None), getattr(_of_thread, "lent", None)
    if block is None or len(block) < size or (lent is not None and lent() is not None):
        block = np.empty(size, np.uint8).data
    room = np.frombuffer(block, np.uint8, size)  # of no array, so that whatever is a view of it keeps it alive
    _of_thread.block, _of_thread.lent = block, weakref.ref(room)
    return room.reshape(shape)
