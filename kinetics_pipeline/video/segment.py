"""The piece of a video that a clip names, as an mp4 of its own: for other tools, and because videos vanish.

It holds every frame of the source between the clip's start and its end, and the one that is on the screen at its start,
which becomes its first, at time 0. Each other frame keeps its distance from the clip's start, to a microsecond, so that
the same grid frames come out of the segment as of the source. The pictures have the source's size and are re-encoded:
a copy could only begin with a key frame. The same bytes in and the same ffmpeg give the same bytes out.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from kinetics_pipeline.records import Clip
from kinetics_pipeline.video.container import BrokenVideo, inspect
from kinetics_pipeline.video.decoding import Complaint, Decoding, Request, TooShort
from kinetics_pipeline.video.ffmpeg import command, running, untrusted_input
from kinetics_pipeline.video.grid_report import GridReport
from kinetics_pipeline.video.packets import MICROSECONDS, Packets, all_packets

QUALITY = 12
"""libx264's constant rate factor: not to be told from the source, PSNR above 38 dB (ffmpeg's wiki, "H.264")."""
SOUND_BITRATE = "128k"
LONG_SHOWN = 10.0
"""Seconds after the clip in which it is looked for a next picture."""
GRID = Fraction(25)
"""Frames a second of the grid that finds the first frame; any would do."""


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
    aspect: float | None = None,
    sound: Path | None = None,
    timeout: float = 300.0,
) -> None:
    """Writes seconds `[start, end)` of the video at `path` to `to`: H.264, and AAC where there is sound.

    `offset` and `aspect` are as in `read_clip`. `sound`: a file with the sound, on the same time, where `path` has
    none. Raises BrokenVideo when ffmpeg makes no video of it, TimeoutError, OSError.
    """
    deadline = time.monotonic() + timeout
    request = Request(Path(path), start, end, GRID, 64, 0, offset, None, aspect, "bilinear", deadline)
    decoding = Decoding.of(request)
    while True:
        try:
            first, goes_on = _span(decoding)
            _encode(decoding, first, goes_on, to, sound)
        except Complaint as complaint:
            decoding = decoding.otherwise(complaint)
            continue
        inspect(to, request.left())
        return


def _span(decoding: Decoding) -> tuple[int, bool]:
    """Which frame of the decoder, from 0 on, is on the screen when the clip starts, and whether the video goes on to
    the clip's end. Raises Complaint, BrokenVideo."""
    cut, report, request = decoding.cut, GridReport(), decoding.request
    one = replace(decoding, cut=replace(cut, count=cut.missing + 1, lookahead=0))
    try:
        for _ in one.frames(lambda _, shape: np.empty(shape, np.uint8), report):
            pass
    except TooShort as error:
        raise BrokenVideo(str(error)) from None
    if cut.count is None:
        return report.numbers[0], False
    end = cut.start + float(cut.count / cut.rate)
    if decoding.listed:
        return report.numbers[0], decoding.listed.line.last >= round(end * MICROSECONDS)
    options = cut.reading(decoding.container, seek=decoding.seeks)
    packets = all_packets(request.path, decoding.container, request.left(), options, end + LONG_SHOWN)
    return report.numbers[0], packets.last_until(round(end * MICROSECONDS))


def _encode(decoding: Decoding, first: int, goes_on: bool, to: Path, sound: Path | None) -> None:
    request, container, cut = decoding.request, decoding.container, decoding.cut
    length = math.inf if request.start is None or request.end is None else request.end - request.start
    source = untrusted_input(request.path, **cut.reading(container, seek=decoding.seeks), reinit_filter=0, threads=1)
    streams = [_pictures(source, decoding, first, length)]
    if container.has_sound:
        streams.append(_sound(source["a:0"], decoding, length))
    elif sound is not None:
        streams.append(_sound(untrusted_input(sound, copyts=None)["a:0"], decoding, length))
    # Of an mp4's pictures only the last has a length of its own: it is on the screen to the clip's end.
    shown = f"{round(length * MICROSECONDS)}-PTS" if goes_on else "DURATION"
    graph = ffmpeg.output(
        *streams,
        f"file:{to}",
        # Without B-frames the first frame is at time 0 for every player, edit list or not.
        **{"c:v": "libx264", "preset": "veryfast", "crf": QUALITY, "pix_fmt": "yuv420p", "bf": 0, "threads": 1},
        **{"c:a": "aac", "b:a": SOUND_BITRATE, "map_metadata": -1, "map_chapters": -1},
        # Microseconds: in a coarser unit frames of a burst would fall on the same time, and be dropped.
        **{"fps_mode": "passthrough", "enc_time_base:v": f"1/{MICROSECONDS}", "video_track_timescale": MICROSECONDS},
        **{"bsf:v": f"setts=duration={shown}"},
        **{"fflags": "+bitexact", "flags:v": "+bitexact", "flags:a": "+bitexact"},
        **{"movflags": "+faststart", "avoid_negative_ts": "disabled", "f": "mp4"},
        **{"stats_enc_pre:v": "pipe:grid", "stats_enc_pre_fmt:v": "{ni} {ptsi} {tbi}"},
    )
    arguments = command(graph, "warning")
    report = GridReport()
    with running([arguments[0], "-y", *arguments[1:]], request.left(), {"grid": report.take}) as run:
        run.stdout.read()
    if run.returncode != 0 or not to.exists() or to.stat().st_size == 0:
        errors = [m for m in run.log if m.level in ("error", "fatal")]
        raise BrokenVideo(f"ffmpeg made no segment of it{f' ({errors[-1]})' if errors else ''}")
    decoding.judge_shape(run, report, decoding.listed.packets if decoding.listed else Packets())


def _pictures(source: Any, decoding: Decoding, first: int, length: float) -> Any:
    container, cut = decoding.container, decoding.cut
    frames = source[str(container.video.index)]
    if container.video.interlaced:
        frames = frames.filter("bwdif", mode="send_frame", deint="interlaced")
    start = replace(cut, missing=0).origin(container, late=0.0)
    within = "" if math.isinf(length) else f"*lt(pts,{round(length * MICROSECONDS)})"
    opening = "PTS" if cut.missing else "if(eq(N,0),0,PTS)"
    frames = (
        frames.filter("settb", f"1/{MICROSECONDS}")
        .filter("setpts", f"{cut.clock.expression()}-{start}")
        .filter("select", f"gte(n,{first}){within}")
        .filter("setpts", opening)
    )
    frames = frames.filter("scale", w="max(2,trunc(iw/2)*2)", h="max(2,trunc(ih/2)*2)")
    if decoding.request.aspect is not None:
        frames = frames.filter("setdar", f"{decoding.request.aspect:.6f}")
    return frames.filter("format", "yuv420p")


def _sound(stream: Any, decoding: Decoding, length: float) -> Any:
    """The sound, from the clip's start to its end; silence where there is none yet."""
    clock = decoding.cut.clock.expression(f"{MICROSECONDS}*NB_SAMPLES/SR")
    start = round(decoding.cut.start * MICROSECONDS)
    end = {} if math.isinf(length) else {"end": f"{length:.6f}"}
    return (
        stream.filter("asettb", f"1/{MICROSECONDS}")
        .filter("asetpts", f"{clock}-({start})")
        .filter("atrim", start=0, **end)
        .filter("aresample", **{"async": 1, "first_pts": 0})
    )
