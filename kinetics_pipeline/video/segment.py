"""The piece of a video that a clip names, as an mp4 of its own: for other tools, and because videos vanish.

Made from the source's bytes, at the source's size and frame rate, encoded anew so that it begins with the clip's first
frame and not with the key frame before it. The same bytes in and the same ffmpeg give the same bytes out.
"""

from __future__ import annotations

import math
import time
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import ffmpeg

from kinetics_pipeline.records import Clip
from kinetics_pipeline.video.container import BrokenVideo, Container, inspect
from kinetics_pipeline.video.ffmpeg import command, running, untrusted_input
from kinetics_pipeline.video.frames import SEEK_MARGIN, Cut, plan_cut

QUALITY = 18
"""libx264's constant rate factor: hardly to be told from the source (ffmpeg's wiki, "H.264")."""
SOUND_BITRATE = "128k"


def segment_name(clip: Clip) -> str:
    """Where the segment of a clip lies among the others: both parts are made of harmless characters."""
    return f"{clip.split}/{clip.clip_id}.mp4"


def cut_segment(
    path: str | PathLike[str],
    start: float | None,
    end: float | None,
    to: Path,
    *,
    offset: float = 0.0,
    sound: Path | None = None,
    timeout: float = 300.0,
) -> None:
    """Writes seconds `[start, end)` of the video at `path` to `to`: H.264, and AAC where there is sound.

    `offset` is as in `read_clip`: seconds of the video at the file's time zero. `sound`: a file with the sound, on the
    same time, where `path` has none. Raises BrokenVideo when ffmpeg makes no video of it, TimeoutError, OSError.
    """
    deadline = time.monotonic() + timeout
    path = Path(path)
    container = inspect(path, timeout)
    cut = plan_cut(container, start, end, Fraction(25), 0, offset)
    length = math.inf if start is None or end is None else end - start
    source = untrusted_input(path, **_reading(container, cut))
    streams = [_pictures(source, container, cut, length)]
    if container.has_sound:
        streams.append(_sound(source, cut, length, container.video_start))
    elif sound is not None:
        streams.append(_sound(untrusted_input(sound, copyts=None), cut, length, container.video_start))
    graph = ffmpeg.output(
        *streams,
        f"file:{to}",
        **{"c:v": "libx264", "preset": "veryfast", "crf": QUALITY, "pix_fmt": "yuv420p", "threads": 1},
        **{"c:a": "aac", "b:a": SOUND_BITRATE, "fps_mode": "vfr", "map_metadata": -1, "map_chapters": -1},
        **{"fflags": "+bitexact", "flags:v": "+bitexact", "flags:a": "+bitexact"},
        **{"movflags": "+faststart", "avoid_negative_ts": "disabled", "f": "mp4"},
    )
    arguments = command(graph, "error")
    with running([arguments[0], "-y", *arguments[1:]], max(1.0, deadline - time.monotonic())) as run:
        run.stdout.read()
    if run.returncode != 0 or not to.exists() or to.stat().st_size == 0:
        said = f" ({run.log[-1]})" if run.log else ""
        raise BrokenVideo(f"ffmpeg made no segment of it{said}")
    inspect(to, max(1.0, deadline - time.monotonic()))


def _reading(container: Container, cut: Cut) -> dict[str, Any]:
    options: dict[str, Any] = {"copyts": None, "noaccurate_seek": None, "threads": 1}
    if cut.seeks(container):
        options |= {"ss": f"{cut.first - SEEK_MARGIN:.6f}", "seek_timestamp": 1}
    return options


def _pictures(source: Any, container: Container, cut: Cut, length: float) -> Any:
    frames = source["V:0"]
    if container.interlaced:
        frames = frames.filter("bwdif", mode="send_frame", deint="interlaced")
    frames = _trimmed(frames, "", cut, length, container.video_start)
    return frames.filter("scale", w="max(2,trunc(iw/2)*2)", h="max(2,trunc(ih/2)*2)").filter("format", "yuv420p")


def _sound(source: Any, cut: Cut, length: float, first: float) -> Any:
    return _trimmed(source["a:0"], "a", cut, length, first).filter("aresample", **{"async": 1, "first_pts": 0})


def _trimmed(stream: Any, kind: str, cut: Cut, length: float, first: float) -> Any:
    """The stream with the clip's start as its time zero, and nothing before or after."""
    origin = f"{cut.start:.6f}/TB"
    if cut.from_first_frame:
        origin = f"(STARTPTS-({first - cut.start:.6f})/TB)"
    stream = stream.filter(f"{kind}setpts", f"PTS-{origin}")
    end = {} if math.isinf(length) else {"end": f"{length:.6f}"}
    return stream.filter(f"{kind}trim", start=0, **end)
