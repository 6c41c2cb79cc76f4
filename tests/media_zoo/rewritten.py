"""The files of the zoo whose boxes, chunks or units were written anew, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tests.builders.videos import H264, ffmpeg, render
from tests.media_zoo.entry import Entry, Shown, even
from tests.media_zoo.joining import TS, joined, piece, with_streams
from tests.media_zoo.rendering import Make, encoded

X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x265-params")
FRAGMENTS = (*H264, "-bf", "0", "-movflags", "+frag_keyframe+empty_moov+default_base_moof")
JOINED = "several videos joined in one file"
GAP = tuple(k / 25 + 3 * (k >= 25) for k in range(50))
DROPPED = tuple(k / 25 + 0.2 * (k >= 10) for k in range(50))


def rewritten(change: Callable[[bytearray], None], make: Make) -> Make:
    def rewriting(path: Path) -> None:
        make(path)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)

    return rewriting


def box(data: bytearray, *names: bytes) -> tuple[int, int]:
    """Where the content of a box begins and ends (ISO/IEC 14496-12); `names`: the boxes around it, then its own."""
    begin, end = 0, len(data)
    for name in names:
        at = begin
        while data[at + 4 : at + 8] != name:
            at += struct.unpack(">I", data[at : at + 4])[0]
        begin, end = at + 8, at + struct.unpack(">I", data[at : at + 4])[0]
    return begin, end


def second_edit(data: bytearray) -> None:
    """Seconds 0 to 1, then 1 to 1.8, which begin between two key pictures."""
    lists = [(b"moov",), (b"moov", b"trak"), (b"moov", b"trak", b"edts"), (b"moov", b"trak", b"edts", b"elst")]
    movie, media = (
        struct.unpack(">I", data[begin + 12 : begin + 16])[0]
        for begin, _ in (box(data, b"moov", b"mvhd"), box(data, b"moov", b"trak", b"mdia", b"mdhd"))
    )
    begin, end = box(data, *lists[-1])
    edits = struct.pack(">IIIiIIiI", 0, 2, movie, 0, 1 << 16, movie * 4 // 5, media, 1 << 16)
    for names in lists:
        at = box(data, *names)[0] - 8
        data[at : at + 4] = struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + len(edits) - (end - begin))
    data[begin:end] = edits


def gap_between_fragments(data: bytearray) -> None:
    """Fragments from the second on begin three seconds later (`tfdt`)."""
    at = data.find(b"tfdt")
    while (at := data.find(b"tfdt", at + 4)) >= 0:
        form = ">Q" if data[at + 4] else ">I"
        place = slice(at + 8, at + 8 + struct.calcsize(form))
        data[place] = struct.pack(form, struct.unpack(form, data[place])[0] + 3 * 12800)


def movie_before_each_fragment(data: bytearray) -> None:
    head = data[: data.find(b"moof") - 4]
    data[:] = head + head.join(_fragments(data))


def _fragments(data: bytearray) -> list[bytearray]:
    begins = []
    at = -1
    while (at := data.find(b"moof", at + 1)) >= 0:
        begins.append(at - 4)
    return [data[a:b] for a, b in pairwise([*begins, len(data)])]


def no_delays(data: bytearray) -> None:
    at = -1
    while (at := data.find(b"\x21\xf9\x04", at + 1)) >= 0:
        data[at + 4 : at + 6] = b"\0\0"


def without_index(data: bytearray) -> None:
    del data[data.rfind(b"idx1") :]


def without_beginning(data: bytearray) -> None:
    """A recording that begins between two key pictures."""
    del data[: len(data) * 15 // 100 // 188 * 188]


def with_long_subtitle(path: Path) -> None:
    film, text = render(path.with_name("film.mp4"), seconds=2), path.with_name("text.srt")
    text.write_text("1\n00:00:00,000 --> 00:00:09,000\na\n")
    ffmpeg("-i", film, "-i", text, "-c", "copy", path)
    film.unlink()
    text.unlink()


def two_descriptions(path: Path) -> None:
    """Two pieces of different sizes as one track with two sample descriptions."""
    parts = [piece(path.with_name(f"{n}.ts"), 25 * n, 25, TS, *size) for n, size in enumerate([(160, 120), (320, 240)])]
    both = path.with_name("both.txt")
    both.write_text("".join(f"file '{part.name}'\n" for part in parts))
    ffmpeg("-f", "concat", "-i", both, "-c", "copy", path)
    for made in (both, *parts):
        made.unlink()


def orientation_in_the_second_piece(path: Path) -> None:
    """HEVC whose second piece says that it is to be turned (H.265, D.2.17)."""
    said = b"\0\0\0\x01\x4e\x01" + bytes([47, 3, 0x08, 0x00, 0x10]) + b"\x80"
    data = b""
    for first in (0, 25):
        options = (*X265, "log-level=none:pools=1:bframes=0", "-f", "hevc")
        part = piece(path.with_name("part.hevc"), first, 25, options).read_bytes()
        key = next(at for at in range(len(part)) if part[at : at + 3] == b"\0\0\x01" and part[at + 3] >> 1 in (19, 20))
        data += part if first == 0 else part[:key] + said[1:] + part[key:]
    path.with_name("part.hevc").unlink()
    path.write_bytes(data)


REWRITTEN = [
    Entry("empty edit.mp4", "clock", "gpac/gpac#1405",
          with_streams(("-map", 0, "-map", 1, "-c:v", "copy", "-c:a", "aac"), ("-f", "lavfi", "-i", "sine=d=3"),
                       ("-itsoffset", 0.4)), Shown(tuple(0.4 + k / 25 for k in range(50)), 2.4)),
    Entry("two edits.mp4", "clock", "mifi/lossless-cut#3057",
          rewritten(second_edit, lambda path: render(path, codec=(*H264, "-bf", "0", "-g", "10"))), even(25, 1.8)),
    Entry("gap between fragments.mp4", "clock", "Dash-Industry-Forum/dash.js#4067",
          rewritten(gap_between_fragments,
                    lambda path: render(path, codec=(*H264, "-bf", "0", "-movflags", "+frag_keyframe+empty_moov"))),
          Shown(GAP, GAP[-1] + 0.04)),
    encoded("dropped frames.avi", "clock", "HomeOfAviSynthPlusEvolution/L-SMASH-Works#69",
            ("-c:v", "mpeg4", "-q:v", "3", "-vf", "setpts=N+5*gte(N\\,10)", "-fps_mode", "passthrough"),
            shown=Shown(DROPPED, DROPPED[-1] + 0.04)),
    Entry("no delays.gif", "rate", "bitbank2/AnimatedGIF#7",
          rewritten(no_delays, lambda path: render(path, codec=())), even(10, 5), encoder="gif"),
    Entry("no index.avi", "damage", "opencv/opencv#6429",
          rewritten(without_index, lambda path: render(path, codec=("-c:v", "mpeg4", "-q:v", "3")))),
    Entry("hevc.avi", "codec", "HandBrake/HandBrake#2621",
          lambda path: render(path, codec=(*X265, "log-level=none:pools=1:bframes=3", "-vtag", "H265"))),
    Entry("two descriptions.mp4", "change", "gpac/gpac#235", two_descriptions),
    Entry("moov before each fragment.mp4", "container", "glubsy/livestream_saver#6",
          rewritten(movie_before_each_fragment, lambda path: render(path, codec=FRAGMENTS))),
    encoded("time code.mov", "streams", "snickers/snickers#47", (*H264, "-timecode", "01:00:00:00")),
    Entry("long subtitle.mkv", "streams", "yt-dlp/yt-dlp#3100", with_long_subtitle),
    Entry("begins midway.ts", "clock", "jellyfin/jellyfin#8015",
          rewritten(without_beginning, lambda path: render(path, codec=(*TS, "-muxdelay", "0"), seconds=3)),
          Shown(even(25).times, 2.0, first=25)),
    Entry("joined.mp4", "clock", "muaz-khan/WebRTC-Experiment#393", joined((*H264,), (*H264,)), refused=JOINED),
    Entry("joined fragments.mp4", "clock", "yt-dlp/yt-dlp#16449", joined(FRAGMENTS, FRAGMENTS), refused=JOINED),
    Entry("joined.flv", "clock", "K-S-V/Scripts#66", joined(*[(*H264, "-f", "flv")] * 2), refused=JOINED),
    Entry("orientation.ts", "change", "ant-media/Ant-Media-Server#4762",
          joined((*TS, "-muxdelay", 0, "-muxpreload", 0), (*TS, "-bsf:v",
                 "h264_metadata=rotate=90:display_orientation=insert", "-muxdelay", 0, "-muxpreload", 0)),
          refused="the camera is turned"),
    Entry("orientation.hevc", "change", "ant-media/Ant-Media-Server#2160", orientation_in_the_second_piece,
          refused="the camera is turned", encoder="libx265"),
]  # fmt: skip
