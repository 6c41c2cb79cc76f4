"""Frames of a piece of a video: cut on one time grid, at one frame rate, with one short side.

**The grid.** Frame k shows what is on the screen at the video's time `start + k / fps`: the last frame whose time
stamp is not later (by more than `TOLERANCE`, for containers that round time stamps to a millisecond). The cut is made
on absolute time stamps, so a whole file, a section of it that kept its time stamps, and a fast and a slow seek give the
same frames.

**The size.** ffmpeg turns the picture as its rotation says and stretches it to square pixels; then the short side
becomes `short_side`, and the long side the nearest whole number of pixels (halves away from zero, odd ones included),
all in one step of interpolation. Interlaced frames are deinterlaced (bwdif, a frame for each frame). HDR is not
tone-mapped.

**What counts as broken.** ffmpeg ends with 0 after almost any damage, so its messages and the number of frames decide:
an error of the demuxer or the video's decoder, or fewer frames than the container claims.
"""

from __future__ import annotations

import math
import re
import threading
import time
import weakref
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Interpolation
from kinetics_pipeline.video.container import BrokenVideo, Container, inspect, packets_end
from kinetics_pipeline.video.ffmpeg import Message, Run, command, running, untrusted_input

__all__ = ["BrokenVideo", "TooShort", "read_clip"]

TOLERANCE = 0.001
"""Seconds by which a time stamp may lie after the grid's."""
MAX_GAP = 0.5
"""Seconds: a video whose first frame comes later than the clip's start by no more than this begins with that frame
repeated, as players show it; and a container may claim to last longer than its last frame by as much."""
SEEK_MARGIN = 2.0
"""Seconds before the clip at which decoding begins at the latest: containers index decoding times, which run ahead."""
MAX_ASPECT = 16
"""Long side over short side. A header that claims more is damage, or an attempt to fill the memory."""
MAX_BYTES = 4 << 30
"""Frames of one clip in memory: 10 minutes at 340x256, 25 fps."""
KEPT_BYTES = 256 << 20
"""Of memory for frames that a thread keeps from clip to clip at most."""
THREADS = 1
"""Of ffmpeg's decoder, and of its scaler. The frames are the same for any number; clips run side by side, and each
thread more costs a tenth."""

HEALTHY = (
    "co located POCs unavailable",  # H.264: B-frames before the first key frame
    "mmco: unref short failure",  # H.264: a frame let go twice
    "number of reference frames",  # H.264: more of them than the stream's level allows
    "SEI type",  # H.264: remarks of the encoder cut short
    "unable to decode APP fields",  # MJPEG: remarks of a camera
)
"""Errors that ffmpeg reports of files that every player shows without fault."""
DAMAGE = ("corrupt decoded frame", "concealing", "corrupt input packet")
"""Warnings that are damage."""


class TooShort(Exception):
    """The file is sound, and holds less than half of the clip. The message is one line."""


def read_clip(
    path: str | PathLike[str],
    start: float | None,
    end: float | None,
    fps: float = 25,
    short_side: int = 256,
    lookahead: int = 0,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    aspect: float | None = None,
    interpolation: str = "bilinear",
    timeout: float = 300.0,
) -> NDArray[np.uint8]:
    """The frames of a clip, uint8 RGB [T, H, W, 3] with min(H, W) = `short_side`.

    `start` and `end` are seconds of the video; None is its first frame, and its end. T is `round((end - start) * fps)`,
    less where the video does not hold the whole clip. `lookahead` frames that follow the clip are appended where the
    video has them; the first T are the same with or without.

    `offset` is the video's time at the file's time zero, `duration` the length in seconds of the whole video where the
    file is a section and does not know (see `sources.base.Media`). `aspect` is width to height as the picture is to be
    shown, where it is known better than the file says it. `timeout` is wall-clock seconds for everything.

    Raises BrokenVideo, TooShort (the file is sound and holds less than half of the clip), TimeoutError, OSError for a
    file that is not there or may not be read, and UserError for arguments that no video can satisfy.
    """
    if start is not None and end is not None and not 0 <= start < end < math.inf:
        raise UserError(f"a clip from {start} to {end} s; allowed: 0 <= start < end")
    if not 0 < fps <= 240:
        raise UserError(f"fps is {fps}; allowed: more than 0 and at most 240")
    if interpolation not in get_args(Interpolation):
        raise UserError(f"interpolation is {interpolation!r}; allowed: {', '.join(get_args(Interpolation))}")
    path = Path(path)
    deadline = time.monotonic() + timeout
    container = inspect(path, timeout)
    cut = plan_cut(container, start, end, Fraction(fps).limit_denominator(1001), lookahead, offset)
    look = _Look(short_side, interpolation, aspect)

    frames, complaint = _decode(path, container, cut, look, deadline, seek=True)
    if complaint and cut.seeks(container):
        # Decoding from the middle makes some healthy files complain: what counts is what they say from the beginning.
        frames, complaint = _decode(path, container, cut, look, deadline, seek=False)
    if complaint:
        raise BrokenVideo(complaint)
    _judge_length(path, container, cut, len(frames), None if duration is None else duration - offset, deadline)
    return frames


@dataclass(frozen=True)
class Cut:
    """What is cut from a file. Times are the file's own time stamps."""

    rate: Fraction
    start: float
    count: int | None
    """Frames of the clip; None to the end."""
    missing: int
    """Frames at the clip's start that the file does not hold."""
    lookahead: int
    from_first_frame: bool
    """Whether time is counted from the first frame that is decoded, whatever its time stamp."""

    @property
    def first(self) -> float:
        """The time of the first frame that is cut."""
        return self.start + float(self.missing / self.rate)

    @property
    def most(self) -> int | None:
        return None if self.count is None else max(0, self.count - self.missing) + self.lookahead

    def seeks(self, container: Container) -> bool:
        """Whether it is right, and worth it, to begin anywhere but at the file's first frame."""
        worth = self.first - SEEK_MARGIN > container.start + SEEK_MARGIN
        return container.indexed and not self.from_first_frame and worth


@dataclass(frozen=True)
class _Look:
    short_side: int
    interpolation: str
    aspect: float | None = None
    """Width to height; None: as the file says."""


def plan_cut(
    container: Container, start: float | None, end: float | None, rate: Fraction, lookahead: int, offset: float
) -> Cut:
    """Where seconds `[start, end)` of a video lie on the time stamps of a file whose time zero is second `offset`."""
    video_late = container.video_start - container.start > MAX_GAP
    # A file trimmed to the clip whose time stamps nevertheless begin far from zero kept those of the whole video.
    trimmed = offset > 0 and container.start > MAX_GAP
    zero = 0.0 if container.indexed and not trimmed else container.start if video_late else container.video_start
    first = container.video_start if start is None else start - offset + zero
    from_first_frame = start is None or (not video_late and (trimmed or not container.indexed))
    count = None
    if end is not None:
        length = end - (start if start is not None else offset + container.video_start - zero)
        count = max(1, round(length * rate))
    gap = container.video_start - first
    missing = math.ceil((gap - TOLERANCE) * rate) if gap > MAX_GAP else 0
    return Cut(rate, first, count, missing, lookahead if count is not None else 0, from_first_frame)


def _decode(
    path: Path, container: Container, cut: Cut, look: _Look, deadline: float, *, seek: bool
) -> tuple[NDArray[np.uint8], str | None]:
    """The frames, and what ffmpeg held against them."""
    if cut.most is not None and cut.most <= cut.lookahead:
        return np.empty((0, 1, 1, 3), np.uint8), None  # the file begins after the clip
    graph = _graph(path, container, cut, look, seek=seek)
    with running(command(graph, "warning"), _left(deadline)) as run:
        frames = _read_ppm(run, cut.most)
    if signal_name := run.crashed():
        return frames, f"ffmpeg crashed on the file ({signal_name})"
    complaint = next((m for m in run.log if _is_damage(m, container)), None)
    return frames, None if complaint is None else f"damaged ({complaint})"


def _graph(path: Path, container: Container, cut: Cut, look: _Look, *, seek: bool) -> Any:
    # The frame on the screen at the clip's start may lie long before it, so what a seek decodes before the clip is
    # not thrown away (`noaccurate_seek`): the grid does that. A graph made anew where the picture changes its size
    # would begin its grid anew (`reinit_filter`): the scaler follows the size by itself.
    options: dict[str, Any] = {"copyts": None, "noaccurate_seek": None, "reinit_filter": 0, "threads": THREADS}
    if seek and cut.seeks(container):
        options |= {"ss": f"{cut.first - SEEK_MARGIN:.6f}", "seek_timestamp": 1}
    frames = untrusted_input(path, **options)["V:0"]  # V: video, but no cover picture
    if container.interlaced:
        frames = frames.filter("bwdif", mode="send_frame", deint="interlaced")
    origin = f"STARTPTS-({round((cut.first - container.video_start + TOLERANCE) * 1e6)})"
    if not cut.from_first_frame:
        origin = f"({round((cut.first + TOLERANCE) * 1e6)})"
    side, shape = look.short_side, "iw*sar/ih" if look.aspect is None else f"{look.aspect:.6f}"
    tall = f"lt({shape},1)"
    frames = (
        frames.filter("settb", "1/1000000")
        .filter("setpts", f"PTS-{origin}")
        .filter("fps", fps=str(cut.rate), start_time=0, round="up")
        .filter(
            "scale",
            w=f"if({tall},{side},min(round({side}*{shape}),{side * MAX_ASPECT + 1}))",
            h=f"if({tall},min(round({side}/({shape})),{side * MAX_ASPECT + 1}),{side})",
            flags=f"{look.interpolation}+accurate_rnd+full_chroma_int+bitexact",
        )
        .filter("setsar", "1")
    )
    if _same_in_planes(container, look):
        frames = frames.filter("format", "gbrp")
    frames = frames.filter("format", "rgb24")
    limit = {} if cut.most is None else {"frames:v": cut.most}
    return frames.output(
        "-", format="image2pipe", vcodec="ppm", fps_mode="passthrough", filter_complex_threads=THREADS, **limit
    )


def _same_in_planes(container: Container, look: _Look) -> bool:
    """Whether the scaler makes the same colours when it writes them as planes, which are interleaved then: that takes
    vector instructions where packed colours take none, a third of all that reading a clip costs.

    It weights rows of YUV one way for planes, and for packed colours too, except where one or two rows make one
    (libswscale, `yuv2packed1`, `yuv2packed2`). From 1.1 rows for one on, each filter but `area` spans three or more.
    """
    return container.size is not None and look.interpolation != "area" and min(container.size) >= 1.1 * look.short_side


def _read_ppm(run: Run, most: int | None) -> NDArray[np.uint8]:
    """The pictures of a stream of PPMs (netpbm's `P6`), a format that says its size. Raises BrokenVideo when they
    change their size, have an absurd one, or are too many for the memory."""
    frames = np.empty((0, 1, 1, 3), np.uint8)
    count = 0
    while run.stdout.readline() == b"P6\n":
        size = re.fullmatch(rb"(\d+) (\d+)\n", run.stdout.readline())
        if size is None or run.stdout.readline() != b"255\n":
            break  # cut off
        width, height = int(size[1]), int(size[2])
        if count == 0:
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise BrokenVideo(f"pictures more than {MAX_ASPECT} times as long as wide")
            frames = _room((min(most or 64, 1024), height, width, 3), grows=most is None or most > 1024)
        elif frames.shape[1:3] != (height, width):
            raise BrokenVideo(f"the shape of the picture changes, from {frames.shape[2]}x{frames.shape[1]}")
        if count == len(frames):
            frames.resize((2 * count, height, width, 3), refcheck=False)
        if (count + 1) * frames[0].nbytes > MAX_BYTES:
            raise BrokenVideo(f"more than {MAX_BYTES >> 30} GiB of frames: a piece of this video can be used, not all")
        picture = frames[count].reshape(-1)
        if run.stdout.readinto(memoryview(picture)) != picture.nbytes:  # type: ignore[attr-defined]
            break
        count += 1
    return frames[:count]


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


def _is_damage(message: Message, container: Container) -> bool:
    if message.context.startswith(container.other_codecs):
        return False
    if message.level in ("error", "fatal", "panic"):
        return not any(h in message.text for h in HEALTHY)
    return any(d in message.text for d in DAMAGE)


def _judge_length(
    path: Path, container: Container, cut: Cut, got: int, known_end: float | None, deadline: float
) -> None:
    """Raises TooShort or BrokenVideo when `got` frames are too few, given what the container claims."""
    clip_end = math.inf if cut.count is None else cut.start + float(cut.count / cut.rate)
    claimed = container.end if known_end is None else known_end
    reached = cut.first + float(got / cut.rate)
    if claimed is not None and reached < min(claimed, clip_end) - MAX_GAP:
        if known_end is None:
            reached = packets_end(path, _left(deadline))  # the sound may be what lasts so long
        if reached < min(claimed, clip_end) - MAX_GAP:
            raise BrokenVideo(f"the file ends at {reached:.2f} s, but its container says {claimed:.2f} s")
    if got == 0 and cut.count is None:
        raise BrokenVideo("there are no frames in the file")
    if cut.count is not None and 2 * got < cut.count:
        begins = f", it begins at {container.video_start:.2f} s" if cut.missing else ""
        raise TooShort(f"the file holds {got} of {cut.count} frames{begins}")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the clip's time is up")
    return left
