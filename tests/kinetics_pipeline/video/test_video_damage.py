"""What is said of files that are damaged, are no videos, want more than to be decoded, or have unusual names."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.video.container import parse_header
from kinetics_pipeline.video.ffmpeg import Message, parse_log
from kinetics_pipeline.video.frames import BrokenVideo, TooShort, read_clip
from tests.builders.videos import H264, Videos, ffmpeg, numbers_of

FAST_START = (*H264, "-movflags", "+faststart")
FRAGMENTED = (*H264, "-movflags", "+frag_keyframe+empty_moov+default_base_moof")
KINDS = [
    (".mp4", FAST_START),
    (".mp4", FRAGMENTED),
    (".mkv", H264),
    (".webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")),
    (".avi", ("-c:v", "mpeg4", "-q:v", "3")),
    (".wmv", ("-c:v", "wmv2", "-q:v", "3")),
]


def damaged(path: Path, folder: Path, *, keep: float = 1.0, noise: tuple[float, float] | None = None) -> Path:
    """A copy cut off after a part of its bytes, or with random bytes from one part of it to another."""
    data = bytearray(path.read_bytes())
    size = len(data)
    if noise:
        first, last = (round(size * part) for part in noise)
        data[first:last] = np.random.default_rng(0).bytes(last - first)
    copy = folder / f"damaged{path.suffix}"
    copy.write_bytes(data[: round(size * keep)])
    return copy


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_file_cut_off_in_the_middle_is_broken_and_not_short(
    videos: Videos, tmp_path: Path, suffix: str, codec: tuple[str, ...], keep: float
) -> None:
    path = damaged(videos(suffix, seconds=8.0, codec=codec), tmp_path, keep=keep)
    for start, end in ((0, 8), (0, 16), (None, None)):
        with pytest.raises(BrokenVideo):
            read_clip(path, start, end, short_side=64)


@pytest.mark.parametrize("tail", [np.random.default_rng(0).bytes, bytes], ids=["noise", "zeros"])
def test_a_transport_stream_that_goes_on_as_something_else_is_broken_where_the_clip_needs_it(
    videos: Videos, tmp_path: Path, tail: Callable[[int], bytes]
) -> None:
    whole = videos(".ts", width=64, height=48, seconds=3.0, codec=(*H264, "-crf", "32", "-bf", "0", "-g", "10"))
    data, path = whole.read_bytes(), tmp_path / "damaged.ts"
    half = len(data) // 188 // 2
    for packets in range(half, half + 6):  # after some of them no picture is left open
        path.write_bytes(data[: 188 * packets] + tail(len(data) - 188 * packets))
        for end in (None, 2.5):
            with pytest.raises(BrokenVideo):
                read_clip(path, None, end, short_side=64)
    path.write_bytes(data + tail(200))  # less than a picture: a recording ends anywhere
    assert len(read_clip(path, None, None, short_side=64)) == 75


def test_an_asf_file_that_ends_between_two_packets_is_measured_by_the_size_in_its_header(
    videos: Videos, tmp_path: Path
) -> None:
    whole = videos(".wmv", width=64, height=48, seconds=4.0, codec=("-c:v", "wmv2", "-q:v", "3"))
    data, path = whole.read_bytes(), tmp_path / "cut.wmv"
    for packets in range(1, 4):  # after some of them no picture is left open
        path.write_bytes(data[: -3200 * packets])
        with pytest.raises(BrokenVideo):
            read_clip(path, 0, 4, short_side=64)


# Not the last kind: of ASF, ffmpeg passes over lost packets without a word.
@pytest.mark.parametrize(("suffix", "codec"), KINDS[:-1])
def test_bytes_overwritten_in_the_middle_break_the_clip_that_needs_them(
    videos: Videos, tmp_path: Path, suffix: str, codec: tuple[str, ...]
) -> None:
    path = damaged(videos(suffix, seconds=8.0, codec=codec), tmp_path, noise=(0.5, 0.6))
    with pytest.raises(BrokenVideo):
        read_clip(path, 2, 7, short_side=64)


def test_damage_elsewhere_does_not_matter_to_a_clip(videos: Videos, tmp_path: Path) -> None:
    whole = videos(seconds=12.0, codec=(*FAST_START, "-g", "12"))
    path = damaged(whole, tmp_path, noise=(0.3, 0.35))
    with pytest.raises(BrokenVideo):
        read_clip(path, 2, 6, short_side=64)
    assert numbers_of(read_clip(path, 0, 1, short_side=64)) == list(range(25))
    assert numbers_of(read_clip(path, 9, 11, short_side=64)) == list(range(225, 275))


def test_a_container_that_claims_more_than_it_holds_is_broken_without_a_message_of_ffmpeg(
    videos: Videos, tmp_path: Path
) -> None:
    path = tmp_path / "claims.flv"  # complete packets and a clean end, but a header that says 8 s
    whole = videos(".flv", seconds=8.0, codec=(*H264, "-bf", "0"))
    data = whole.read_bytes()
    end = data.rfind(b"\x09", 0, len(data) * 6 // 10)
    while int.from_bytes(data[end - 4 : end], "big") < 100 or data[end + 8 : end + 11] != bytes(3):
        end = data.rfind(b"\x09", 0, end)
    path.write_bytes(data[:end])
    with pytest.raises(BrokenVideo, match=r"ends at .* s, but its container says 8\.\d\d s"):
        read_clip(path, 0, 8, short_side=64)


def test_a_section_is_measured_by_the_length_of_the_whole_video(videos: Videos, tmp_path: Path) -> None:
    section = tmp_path / "section.mp4"
    ffmpeg("-ss", 4, "-copyts", "-i", videos(seconds=8.0, codec=(*H264, "-g", "10")), "-c", "copy", section)
    assert len(read_clip(section, 6, 10, short_side=64, duration=8.0)) == 50
    with pytest.raises(TooShort):
        read_clip(section, 7, 17, short_side=64, duration=8.0)
    with pytest.raises(BrokenVideo, match="says 30"):
        read_clip(section, 7, 17, short_side=64, duration=30.0)


def test_damaged_sound_does_not_matter(videos: Videos, tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    inputs = ("-i", videos(seconds=4.0), "-f", "lavfi", "-i", "anoisesrc=d=4")
    ffmpeg(*inputs, "-c:v", "copy", "-c:a", "aac", "-bsf:a", "noise=amount=2", path)
    assert len(read_clip(path, 0, 4, short_side=64)) == 100


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>" + b"x" * 4096,
        b"hello world\n" * 400,
        bytes(4096),
        np.random.default_rng(1).bytes(50_000),
        b"\x00\x00\x00\x20ftypisom" + bytes(2000),
    ],
    ids=["empty", "html", "text", "zeros", "noise", "header only"],
)
@pytest.mark.parametrize("name", ["page.mp4", "page.txt", "page"])
def test_what_is_no_video_is_broken(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrokenVideo) as caught:
        read_clip(tmp_path / name, 0, 1)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_sound_alone_with_a_cover_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", 1, tmp_path / "cover.jpg")
    inputs = ("-f", "lavfi", "-i", "sine=d=2", "-i", tmp_path / "cover.jpg", "-map", 0, "-map", 1)
    ffmpeg(*inputs, "-c:v", "copy", "-disposition:v:0", "attached_pic", tmp_path / "song.m4a")
    with pytest.raises(BrokenVideo, match="no video stream"):
        read_clip(tmp_path / "song.m4a", 0, 1)


def test_a_still_picture_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", 1, tmp_path / "still.png")
    os.rename(tmp_path / "still.png", tmp_path / "still.mp4")
    with pytest.raises(BrokenVideo, match="not a video"):
        read_clip(tmp_path / "still.mp4", None, None)


@pytest.fixture
def secret(videos: Videos, tmp_path: Path) -> Path:
    """A video that a hostile file tries to have read."""
    path = tmp_path / "secret.ts"
    ffmpeg("-i", videos(), "-c", "copy", path)
    return path


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile {secret}\n",
        "ffconcat version 1.0\nfile file:{secret}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ffconcat", "list"])
def test_a_playlist_or_script_opens_no_other_file(tmp_path: Path, secret: Path, name: str, script: str) -> None:
    (tmp_path / name).write_text(script.format(secret=secret))
    with pytest.raises(BrokenVideo):
        read_clip(tmp_path / name, 0, 1)


def test_a_playlist_reaches_no_server(tmp_path: Path) -> None:
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.ts"
        (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(BrokenVideo):
            read_clip(tmp_path / "list.m3u8", 0, 1)
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize(
    "name", ["-i", "-y.mp4", "a'b\"c, %03d [x];:\\ ö.mp4", "no suffix", "http:a.mp4", "concat:a|b", "two\nlines.mp4"]
)
def test_no_name_of_a_file_is_anything_but_a_name(
    videos: Videos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(videos().read_bytes())
    monkeypatch.chdir(tmp_path)
    assert numbers_of(read_clip(name, 0, 1, short_side=64)) == list(range(25))


def test_a_file_that_is_not_there_is_no_broken_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_clip(tmp_path / "nothing.mp4", 0, 1)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(BrokenVideo, match="not a file"):
        read_clip(tmp_path / "pipe.mp4", 0, 1)


def test_a_decode_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1920x1080:d=4", "-c:v", "ffv1", tmp_path / "heavy.mkv")
    with pytest.raises(TimeoutError):
        read_clip(tmp_path / "heavy.mkv", 0, 4, short_side=1080, timeout=0.2)


def test_a_picture_of_gigapixels_is_not_decoded(tmp_path: Path) -> None:
    ffmpeg(
        "-f", "lavfi", "-i", "color=red:s=9000x9000:d=0.04", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", tmp_path / "a.mov"
    )
    with pytest.raises(BrokenVideo):
        read_clip(tmp_path / "a.mov", None, None)


def test_levels_and_speakers_are_read_from_ffmpegs_lines() -> None:
    log = parse_log(
        "[h264 @ 0x55c] [error] Invalid NAL unit size (0 > 346).\n"
        "[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [warning] corrupt decoded frame\n"
        "    Last message repeated 2 times\n[fatal] bad: [error] nested\n"
    )
    assert log == [
        Message("h264", "error", "Invalid NAL unit size (0 > 346)."),
        Message("dec:h264", "warning", "corrupt decoded frame"),
        Message("", "fatal", "bad: [error] nested"),
    ]


def test_a_duration_guessed_from_the_bit_rate_is_no_claim() -> None:
    lines = [
        Message("", "info", "Input #0, h264, from 'file:/a':"),
        Message("", "info", "  Duration: 00:00:10.00, start: 0.000000, bitrate: 10 kb/s"),
        Message("", "info", "  Stream #0:0: Video: h264 (High), yuv420p(progressive), 160x120, 25 fps"),
    ]
    assert parse_header(lines).end == 10
    guess = Message("h264", "warning", "Estimating duration from bitrate, this may be inaccurate")
    assert parse_header([guess, *lines]).end is None
