"""What a video file says of itself: its streams, where its time begins, how long it claims to be.

imageio-ffmpeg ships no ffprobe, so the header that `ffmpeg -i` prints is read. It costs about 15 ms.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ffmpeg

from kinetics_pipeline.video.ffmpeg import Message, command, running, untrusted_input

_FORMAT = re.compile(r"^Input #0, (\S+), from 'file:")
_DURATION = re.compile(r"^  Duration: (?:N/A|(\d+):(\d\d):(\d\d\.\d+))(?:, start: (-?\d+\.\d+))?")
_STREAM = re.compile(r"^ +Stream #0:(\d+)\S*: (Video|Audio|Subtitle): (.*)$")
"""Indented further where it belongs to a group, as tracks do that refer to each other (a time code to its pictures)."""
_SIZE = re.compile(r", (\d+)x(\d+)\b")
_PIXELS = re.compile(r", (?:yuvj?4\d\dp|nv12|p010)\w*(?:\(|, ).*?, (\d+)x(\d+)(?:,| \[SAR 1:1 |$)")
_RATE = re.compile(r", (\d+(?:\.\d+)?)(k?) (?:fps|tbr)\b")
_NTSC = {24 / 1.001: "23.98", 30 / 1.001: "29.97", 48 / 1.001: "47.95", 60 / 1.001: "59.94", 120 / 1.001: "119.88"}
"""Rates that the header rounds to two decimals."""
_STREAM_START = re.compile(r", start (-?\d+\.\d+)")


class BrokenVideo(Exception):
    """The file is not a video, is damaged, or ends before its own container says. The message is one line."""


WITHOUT_INDEX = ("mpegts", "mpeg", "flv", "live_flv", "asf", "ogg", "nut")
"""Formats whose pictures carry times of a clock, and that have no index of them: the clock may start again in the
middle of the file, and what was lost leaves no trace but a jump of the clock."""


@dataclass(frozen=True)
class VideoStream:
    """One stream of pictures, as the header describes it."""

    index: int
    """Its number among all streams of the file."""
    codec: str
    """ffmpeg's name of it: `h264`, `vp9`."""
    start: float
    """The first time stamp, seconds."""
    interlaced: bool
    default: bool
    """Whether the container marks it as the one to show."""
    pixels: int
    """Width times height; 0 where the header does not say."""
    size: tuple[int, int] | None
    """Width and height, where the pictures are YUV of square pixels; None where not, or where nothing is said. They may
    be meant to be turned."""
    rate: float | None = None
    """Pictures a second, the mean where they vary; None where the header does not say."""
    stored_size: tuple[int, int] | None = None
    """Width and height of the pictures as they are stored, whatever their pixels; None where nothing is said."""


@dataclass(frozen=True)
class Container:
    """The header of a video file. Times are seconds, on the file's own time stamps."""

    format: str
    """ffmpeg's name of the format; several, separated by commas, for the MP4 and Matroska families."""
    start: float
    """The earliest time stamp of any stream."""
    end: float | None
    """The time stamp at which the container claims to end; None where it makes no claim. Where the first time stamp is
    not zero this may be early: some formats count their duration from zero, others from there."""
    video: VideoStream
    """The stream whose pictures are taken."""
    videos: int
    """How many streams of pictures there are, covers and thumbnails not counted."""
    other_codecs: tuple[str, ...]
    """Codecs of sound and subtitles, whose damage does not matter here."""
    has_sound: bool = False

    @property
    def video_start(self) -> float:
        return self.video.start

    @property
    def indexed(self) -> bool:
        """Whether the format has an index of key frames, so that seeking ends on one. Where it has none, decoding
        from a place found by guess begins with damaged frames. These formats also have a time zero; in the others the
        first time stamp means nothing (broadcast) or is off by the decoder's delay (AVI, FLV), and time zero is the
        first frame."""
        return self.format.startswith(("mov,", "matroska,"))

    @property
    def has_clock_without_index(self) -> bool:
        """Whether the format's pictures carry clock times and it has no index of them: see `WITHOUT_INDEX`."""
        return self.format in WITHOUT_INDEX


def inspect(path: Path, timeout: float) -> Container:
    """Reads the header, and where it names several streams of pictures counts those of each.

    Raises BrokenVideo when the file is not a video that may be opened, TimeoutError, OSError.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BrokenVideo("this is not a file")
    if status.st_size == 0:
        raise BrokenVideo("the file is empty")
    path.open("rb").close()  # for the ordinary error of a file that may not be read
    arguments = command(untrusted_input(path).output("-", format="null"), "info")
    arguments = arguments[: arguments.index("-f")]  # an input and no output: ffmpeg prints the header and ends
    with running(arguments, timeout) as run:
        run.stdout.read()
    container = parse_header(run.log)
    if container.videos > 1:
        streams = _video_streams(run.log)
        chosen = choose_stream(streams, count_pictures(path, [s.index for s in streams], timeout))
        container = replace(container, video=chosen)
    return container


def parse_header(log: list[Message]) -> Container:
    """The container in the lines that `ffmpeg -i` prints, with its first video. Raises BrokenVideo when they show no
    video."""
    lines = [m.text for m in log if m.level == "info"]
    format_ = next((m[1] for line in lines if (m := _FORMAT.match(line))), None)
    if format_ is None:
        raise BrokenVideo(_why_not_opened(log))
    duration, start = None, 0.0
    if m := next((m for line in lines if (m := _DURATION.match(line))), None):
        duration = None if m[1] is None else int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3])
        start = float(m[4] or 0)
    # Of broadcasts the duration is ffmpeg's own sum over the time stamps, no claim of the file.
    if format_ in ("mpegts", "mpeg") or any("Estimating duration from bitrate" in m.text for m in log):
        duration = None
    others = [(m[2], m[3]) for m in _streams(log) if m[2] != "Video"]
    videos = _video_streams(log)
    if not videos:
        raise BrokenVideo("there is no video stream in the file")
    return Container(
        format=format_,
        start=start,
        end=duration,
        video=videos[0],
        videos=len(videos),
        has_sound=any(kind == "Audio" for kind, _ in others),
        other_codecs=tuple(sorted({text.split(maxsplit=1)[0].rstrip(",") for _, text in others})),
    )


def _streams(log: list[Message]) -> list[re.Match[str]]:
    """The lines of the streams, each once though it may belong to several groups."""
    found = (_STREAM.match(m.text) for m in log if m.level == "info")
    return list({m[1]: m for m in found if m is not None}.values())


def _video_streams(log: list[Message]) -> list[VideoStream]:
    """The streams of moving pictures, in the file's order."""
    found = []
    for m in _streams(log):
        if m[2] != "Video" or "(attached pic)" in m[3] or "(timed thumb" in m[3]:
            continue
        text = m[3]
        own_start, pixels, size = _STREAM_START.search(text), _PIXELS.search(text), _SIZE.search(text)
        found.append(
            VideoStream(
                index=int(m[1]),
                codec=text.split(maxsplit=1)[0].rstrip(","),
                start=float(own_start[1]) if own_start else 0.0,
                interlaced=bool(re.search(r"\b(?:top|bottom) (?:first|coded first)", text)),
                default="(default)" in text,
                pixels=int(size[1]) * int(size[2]) if size else 0,
                size=(int(pixels[1]), int(pixels[2])) if pixels else None,
                rate=_rate(text),
                stored_size=(int(size[1]), int(size[2])) if size else None,
            )
        )
    return found


def _rate(text: str) -> float | None:
    """Pictures a second in a line that describes a stream: `29.97 fps`, `1k fps`."""
    found = _RATE.search(text)
    if found is None:
        return None
    exact = next((rate for rate, shown in _NTSC.items() if shown == found[1] and not found[2]), None)
    return (exact or float(found[1]) * (1000 if found[2] else 1)) or None


def choose_stream(streams: Sequence[VideoStream], pictures: Mapping[int, tuple[int, float]]) -> VideoStream:
    """The stream to show: of those with more than one picture one that the container marks as default, then the one
    with the most pixels, then the longest, then the first.

    `pictures`: of each stream the number of pictures and the seconds that they last.
    """

    def rank(stream: VideoStream) -> tuple[bool, bool, int, float, int]:
        count, length = pictures[stream.index]
        return count > 1, stream.default, stream.pixels, length, -stream.index

    return max(streams, key=rank)


def count_pictures(path: Path, streams: Sequence[int], timeout: float) -> dict[int, tuple[int, float]]:
    """The number of packets of each stream, and the seconds from its first packet to the end of its last one. Reads the
    whole file but decodes nothing."""
    found = dict.fromkeys(streams, (0, math.inf, -math.inf))
    for place, pts, length in _packets(path, streams, timeout):
        count, first, last = found[streams[place]]
        found[streams[place]] = (count + 1, min(first, pts), max(last, pts + length))
    return {stream: (count, max(0.0, last - first)) for stream, (count, first, last) in found.items()}


def _why_not_opened(log: list[Message]) -> str:
    if any("Format not on whitelist" in m.text for m in log):
        return "the file is not a video"
    last = [m.text for m in log if m.level in ("error", "fatal") and "Error opening input file" not in m.text]
    reason = last[-1].rpartition(": ")[2] if last else "no reason given"
    return f"ffmpeg cannot open the file ({reason})"


def picture_times(path: Path, timeout: float) -> list[tuple[float, float]]:
    """Begin and end of each picture of the first video stream, seconds, in the order of time; empty where there is
    none. Reads the whole file but decodes nothing. Raises TimeoutError."""
    return sorted((pts, pts + length) for _, pts, length in _packets(path, ["V:0?"], timeout))


def packets_end(path: Path, timeout: float) -> float:
    """The time stamp at which the last packet of video, sound or subtitles in the file ends; 0 when there is none.

    Reads the whole file but decodes nothing. Raises TimeoutError.
    """
    return max((pts + length for _, pts, length in _packets(path, ["V?", "a?", "s?"], timeout)), default=0.0)


def _packets(path: Path, streams: Sequence[int | str], timeout: float) -> Iterator[tuple[int, float, float]]:
    """Yields for each packet the index of its stream in the output, its time stamp and its duration, seconds."""
    source = untrusted_input(path, copyts=None)
    inputs = [source[str(stream)] for stream in streams]
    graph = ffmpeg.output(*inputs, "-", format="framecrc", codec="copy", copyinkf=None)
    bases: dict[str, float] = {}
    with running(command(graph, "fatal"), timeout) as run:
        for line in run.stdout:
            if m := re.match(rb"#tb (\d+): (\d+)/(\d+)", line):
                bases[m[1].decode()] = int(m[2]) / int(m[3])
            elif not line.startswith(b"#"):
                place, _, pts, length = line.decode().split(",")[:4]
                if pts.strip().lstrip("-").isdigit():
                    base = bases[place.strip()]
                    yield int(place), int(pts) * base, int(length) * base
