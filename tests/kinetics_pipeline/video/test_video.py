"""Which frames a clip has: one time grid for every kind of file, against frame numbers in the picture and PyAV."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.video.frames import TooShort, read_clip
from tests.builders.videos import H264, Videos, ffmpeg, number_of, numbers_of

VFR = (*H264, "-vf", "setpts='(N+0.4*sin(N*1.7)+8*floor(N/60))/25/TB'", "-fps_mode", "passthrough")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-x264-params")


def grid(fps: float | str, start: float, count: int) -> list[int]:
    """The source frame on the screen at `start + k / 25`, a millisecond being allowed for rounded time stamps."""
    first = Fraction(start).limit_denominator(1000) + Fraction(1, 1000)
    return [math.floor((first + Fraction(k, 25)) * Fraction(fps)) for k in range(count)]


def by_pyav(path: Path, start: float, count: int) -> NDArray[np.uint8]:
    """The same frames from a second decoder, at their own size: the last whose time stamp is not after the grid's."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    times = np.array([t for t, _ in frames])
    chosen = np.searchsorted(times, start + np.arange(count) / 25 + 1e-3, side="right") - 1
    return np.stack([frames[i][1] for i in chosen.clip(0)])


@pytest.mark.parametrize(
    ("suffix", "fps", "codec"),
    [
        (".mp4", 25, H264),
        (".mp4", 30, H264),
        (".mp4", "30000/1001", H264),
        (".mkv", 30, H264),
        (".mov", 50, ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p")),
        (".webm", 24, ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")),
        (".avi", 25, ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2")),
        (".ts", 25, H264),
        (".flv", 25, H264),
        (".mpg", 25, ("-c:v", "mpeg2video", "-q:v", "3")),
        (".wmv", 25, ("-c:v", "wmv2", "-q:v", "3")),
        (".ogv", 25, ("-c:v", "libtheora", "-q:v", "7")),
        (".mp4", 60, (*H264, "-bf", "3")),
        (".mp4", 12.5, H264),
        (".mp4", 1, H264),
    ],
)
def test_every_container_and_frame_rate_is_cut_on_the_same_grid(
    videos: Videos, suffix: str, fps: float | str, codec: tuple[str, ...]
) -> None:
    path = videos(suffix, fps=fps, seconds=8.0, codec=codec)
    for start, end in ((0.0, 1.0), (5.0, 6.0), (4.52, 6.5)):
        count = round((end - start) * 25)
        assert numbers_of(read_clip(path, start, end, short_side=64)) == grid(fps, start, count), (start, end)


@pytest.mark.parametrize("codec", [(*H264[:-2], "-pix_fmt", "yuv444p"), (*VFR, "-pix_fmt", "yuv444p")])
def test_pixels_are_those_of_a_second_decoder(videos: Videos, codec: tuple[str, ...]) -> None:
    path = videos(seconds=8.0, codec=codec)  # 4:4:4: the two libraries interpolate chroma differently
    frames = read_clip(path, 4.2, 6.2, short_side=120)
    assert np.array_equal(frames, by_pyav(path, 4.2, 50))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", H264),
        (".mp4", VFR),
        (".mkv", VFR),
        (".mp4", (*X264, "open-gop=1:keyint=30:bframes=3")),
        (".mkv", (*X264, "open-gop=1:keyint=30:bframes=3")),
        (".mp4", (*X264, "intra-refresh=1:keyint=50")),
        (".mp4", ("-c:v", "libx265", "-x265-params", "log-level=none:pools=1:open-gop=1:keyint=30:bframes=4")),
        (
            ".webm",
            ("-c:v", "libvpx-vp9", "-b:v", "300k", "-auto-alt-ref", "1", "-lag-in-frames", "25", "-cpu-used", "8"),
        ),
    ],
)
def test_seeking_gives_the_pixels_of_decoding_from_the_beginning(
    videos: Videos, monkeypatch: pytest.MonkeyPatch, suffix: str, codec: tuple[str, ...]
) -> None:
    path = videos(suffix, seconds=8.0, codec=codec)
    fast = read_clip(path, 5.3, 7.3, short_side=64)
    monkeypatch.setattr("kinetics_pipeline.video.cut.SEEK_MARGIN", 100.0)
    assert np.array_equal(fast, read_clip(path, 5.3, 7.3, short_side=64))


def test_a_frame_shown_for_long_is_found_behind_the_seek(videos: Videos) -> None:
    path = videos(fps="1/4", seconds=40.0, codec=(*H264, "-g", "1"))
    assert numbers_of(read_clip(path, 31.5, 32.5, short_side=64)) == [7] * 13 + [8] * 12


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_section_that_kept_its_time_stamps_gives_the_pixels_of_the_whole_file(
    videos: Videos, tmp_path: Path, suffix: str
) -> None:
    whole = videos(suffix, fps="19.62", seconds=8.0, codec=(*H264, "-g", "10"))
    section = tmp_path / f"section{suffix}"
    ffmpeg("-ss", 3, "-copyts", "-i", whole, "-to", 8, "-c", "copy", section)
    assert section.stat().st_size < whole.stat().st_size
    assert np.array_equal(read_clip(section, 5, 6.6, short_side=64), read_clip(whole, 5, 6.6, short_side=64))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_a_trimmed_file_shows_the_clip_from_its_own_beginning(videos: Videos, tmp_path: Path, suffix: str) -> None:
    trimmed = tmp_path / f"trimmed{suffix}"
    ffmpeg("-ss", 4, "-i", videos(seconds=8.0), "-t", 2, "-c:v", "libx264", "-crf", 16, trimmed)
    assert numbers_of(read_clip(trimmed, 4, 6, short_side=64, offset=4)) == list(range(100, 150))


def test_a_trimmed_file_with_the_time_stamps_of_the_whole_video_is_understood(videos: Videos, tmp_path: Path) -> None:
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", 4, "-copyts", "-i", videos(seconds=8.0, codec=(*H264, "-g", "10")), "-to", 6, "-c", "copy", trimmed)
    assert numbers_of(read_clip(trimmed, 4, 6, short_side=64, offset=4)) == list(range(100, 150))


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".avi"])
def test_the_time_zero_of_a_whole_file_is_its_first_frame_whatever_its_format(
    videos: Videos, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"copy{suffix}"
    ffmpeg("-i", videos(seconds=8.0), "-c", "copy", "-muxdelay", 3, path)
    assert numbers_of(read_clip(path, 2, 3, short_side=64)) == list(range(50, 75))


def test_a_frame_more_leaves_the_others_as_they_are(videos: Videos) -> None:
    path = videos(fps=30, seconds=8.0)
    without, with_one = read_clip(path, 5, 7, short_side=64), read_clip(path, 5, 7, short_side=64, lookahead=1)
    assert len(with_one) == 51
    assert np.array_equal(without, with_one[:50])


def test_where_the_video_ends_there_is_no_lookahead(videos: Videos) -> None:
    assert len(read_clip(videos(seconds=8.0), 6, 8, short_side=64, lookahead=1)) == 50


def test_a_clip_half_there_has_fewer_frames(videos: Videos) -> None:
    assert numbers_of(read_clip(videos(seconds=8.0), 7, 9, short_side=64, lookahead=1)) == list(range(175, 200))


@pytest.mark.parametrize(("start", "end"), [(7.2, 9.2), (8.0, 10.0), (1000.0, 1010.0)])
def test_a_clip_less_than_half_there_is_too_short(videos: Videos, start: float, end: float) -> None:
    with pytest.raises(TooShort):
        read_clip(videos(seconds=8.0), start, end, short_side=64)


def test_sound_that_goes_on_longer_does_not_make_a_short_video_broken(videos: Videos, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    ffmpeg("-i", videos(seconds=8.0), "-f", "lavfi", "-i", "sine=d=20", "-c:v", "copy", "-c:a", "aac", path)
    assert len(read_clip(path, 4, 11, short_side=64)) == 100
    with pytest.raises(TooShort):
        read_clip(path, 5, 15, short_side=64)


def test_sound_that_begins_earlier_leaves_the_missing_frames_out(videos: Videos, tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    ffmpeg("-itsoffset", 3, "-i", videos(seconds=8.0), "-f", "lavfi", "-i", "sine=d=8", "-c:v", "copy", path)
    assert numbers_of(read_clip(path, 2, 5, short_side=64)) == list(range(50))


def test_a_whole_video_has_all_its_frames(videos: Videos) -> None:
    assert numbers_of(read_clip(videos(seconds=8.0), None, None, short_side=64)) == list(range(200))
    assert numbers_of(read_clip(videos(fps=50), None, None, short_side=64)) == list(range(0, 100, 2))


def test_a_video_of_a_single_frame_can_be_read(videos: Videos) -> None:
    assert read_clip(videos(seconds=0.04), None, None, short_side=64).shape == (1, 64, 85, 3)


def test_another_frame_rate_uses_the_same_rule(videos: Videos) -> None:
    path = videos(fps=30, seconds=8.0)
    assert numbers_of(read_clip(path, 5, 7, 10, short_side=64)) == list(range(150, 210, 3))
    assert len(read_clip(path, 5, 7, 29.97, short_side=64)) == 60


def test_the_grid_survives_a_change_of_the_pictures_size(videos: Videos, tmp_path: Path) -> None:
    small, large = videos(".ts"), videos(".ts", width=320, height=240)
    (tmp_path / "list").write_text(f"file '{small}'\nfile '{large}'\n")
    path = tmp_path / "both.ts"
    ffmpeg("-f", "concat", "-safe", 0, "-i", tmp_path / "list", "-c", "copy", path)
    frames = read_clip(path, 1, 4, short_side=64)
    assert numbers_of(frames[:24]) == list(range(25, 49))
    assert numbers_of(frames[-20:]) == list(range(30, 50))


@pytest.mark.parametrize(("start", "end"), [(3, 2), (2, 2), (-1, 2), (0, math.inf), (0, math.nan)])
def test_times_that_no_clip_can_have_are_refused_in_one_line(videos: Videos, start: float, end: float) -> None:
    with pytest.raises(UserError, match="allowed: 0 <= start < end"):
        read_clip(videos(), start, end)


def test_the_numbers_on_the_frames_can_be_told_apart(videos: Videos) -> None:
    frame = read_clip(videos(), 1, 1.04, short_side=64)[0]
    assert number_of(frame) == 25
    assert number_of(np.flip(frame, axis=1)) != 25
