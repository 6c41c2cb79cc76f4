"""What a video file says of itself: its streams, where its time begins, how long it claims to be.

imageio-ffmpeg ships no ffprobe, so the header that `ffmpeg -i` prints is read. It costs about 15 ms.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from kinetics_pipeline.video.ffmpeg import Message, command, running, untrusted_input

_FORMAT = re.compile(r"^Input #0, (\S+), from 'file:")
_DURATION = re.compile(r"^  Duration: (?:N/A|(\d+):(\d\d):(\d\d\.\d+))(?:, start: (-?\d+\.\d+))?")
_STREAM = re.compile(r"^  Stream #0:\d+\S*: (Video|Audio|Subtitle): (.*)$")
_PIXELS = re.compile(r", (?:yuvj?4\d\dp|nv12|p010)\w*(?:\(|, ).*?, (\d+)x(\d+)(?:,| \[SAR 1:1 |$)")
_STREAM_START = re.compile(r", start (-?\d+\.\d+)")


class BrokenVideo(Exception):
    """The file is no video, is damaged, or ends before its own container says. The message is one line."""


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
    video_start: float
    """The first time stamp of the video."""
    interlaced: bool
    other_codecs: tuple[str, ...]
    """Of sound and subtitles, whose damage does not matter here."""
    has_sound: bool = False
    size: tuple[int, int] | None = None
    """Width and height of the pictures, where they are YUV of square pixels; None where not, or where nothing is said.
    They may be meant to be turned."""

    @property
    def indexed(self) -> bool:
        """Whether the format has an index of key frames, so that seeking ends on one. Where it has none, decoding
        from a place found by guess begins with damaged frames. These formats also have a time zero; in the others the
        first time stamp means nothing (broadcast) or is off by the decoder's delay (AVI, FLV), and time zero is the
        first frame."""
        return self.format.startswith(("mov,", "matroska,"))


def inspect(path: Path, timeout: float) -> Container:
    """Reads the header. Raises BrokenVideo when the file is not a video that may be opened, TimeoutError, OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BrokenVideo("this is no file")
    if status.st_size == 0:
        raise BrokenVideo("the file is empty")
    path.open("rb").close()  # for the ordinary error of a file that may not be read
    arguments = command(untrusted_input(path).output("-", format="null"), "info")
    arguments = arguments[: arguments.index("-f")]  # an input and no output: ffmpeg prints the header and ends
    with running(arguments, timeout) as run:
        run.stdout.read()
    return parse_header(run.log)


def parse_header(log: list[Message]) -> Container:
    """The container in the lines that `ffmpeg -i` prints. Raises BrokenVideo when they show no video."""
    lines = [m.text for m in log if m.level == "info"]
    format_ = next((m[1] for line in lines if (m := _FORMAT.match(line))), None)
    if format_ is None:
        raise BrokenVideo(_why_not_opened(log))
    duration, start = None, 0.0
    if m := next((m for line in lines if (m := _DURATION.match(line))), None):
        duration = None if m[1] is None else int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3])
        start = float(m[4] or 0)
    if any("Estimating duration from bitrate" in m.text for m in log):
        duration = None
    streams = [(m[1], m[2]) for line in lines if (m := _STREAM.match(line))]
    videos = [s for kind, s in streams if kind == "Video" and "(attached pic)" not in s and "(timed thumb" not in s]
    if not videos:
        raise BrokenVideo("there is no video stream in the file")
    video = videos[0]
    own_start = _STREAM_START.search(video)
    pixels = _PIXELS.search(video)
    return Container(
        format=format_,
        start=start,
        end=duration,
        video_start=float(own_start[1]) if own_start else 0.0,
        interlaced=bool(re.search(r"\b(?:top|bottom) (?:first|coded first)", video)),
        has_sound=any(kind == "Audio" for kind, _ in streams),
        other_codecs=tuple(sorted({s.split(maxsplit=1)[0].rstrip(",") for kind, s in streams if kind != "Video"})),
        size=(int(pixels[1]), int(pixels[2])) if pixels else None,
    )


def _why_not_opened(log: list[Message]) -> str:
    if any("Format not on whitelist" in m.text for m in log):
        return "the file is not a video"
    last = [m.text for m in log if m.level in ("error", "fatal") and "Error opening input file" not in m.text]
    reason = last[-1].rpartition(": ")[2] if last else "no reason given"
    return f"ffmpeg cannot open the file ({reason})"


def packets_end(path: Path, timeout: float) -> float:
    """The time stamp at which the last packet of sound or video in the file ends; 0 when there is none.

    Reads the whole file but decodes nothing. Raises TimeoutError.
    """
    source = untrusted_input(path, copyts=None)
    graph = source["V?"].output(source["a?"], "-", format="framecrc", codec="copy")
    bases: dict[str, float] = {}
    end = 0.0
    with running(command(graph, "fatal"), timeout) as run:
        for line in run.stdout:
            if m := re.match(rb"#tb (\d+): (\d+)/(\d+)", line):
                bases[m[1].decode()] = int(m[2]) / int(m[3])
            elif not line.startswith(b"#"):
                stream, _, pts, length = line.decode().split(",")[:4]
                if pts.strip().lstrip("-").isdigit():
                    end = max(end, (int(pts) + int(length)) * bases[stream.strip()])
    return end
