"""What the pictures of a clip look like: size, rotation, shape of the pixels, colours, fields."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.video.frames import BrokenVideo, read_clip
from tests.builders.videos import H264, Videos, ffmpeg, numbers_of


@pytest.mark.parametrize(
    ("width", "height", "short_side", "expected"),
    [
        (160, 120, 64, (64, 85)),  # 85.33
        (160, 120, 120, (120, 160)),
        (120, 160, 64, (85, 64)),
        (128, 72, 64, (64, 114)),  # 113.78: rounded up
        (128, 128, 64, (64, 64)),
        (160, 64, 65, (65, 163)),  # 162.5: halves go up
        (160, 120, 256, (256, 341)),
    ],
)
def test_the_long_side_is_rounded_to_the_nearest_pixel(
    videos: Videos, width: int, height: int, short_side: int, expected: tuple[int, int]
) -> None:
    frames = read_clip(videos(width=width, height=height), 0, 0.2, short_side=short_side)
    assert frames.shape == (5, *expected, 3)
    assert frames.dtype == np.uint8
    assert frames.flags.c_contiguous


@pytest.mark.parametrize("interpolation", ["bicubic", "area", "lanczos"])
def test_other_interpolations_give_other_pixels_of_the_same_picture(videos: Videos, interpolation: str) -> None:
    bilinear, other = (read_clip(videos(), 0, 0.2, short_side=64, interpolation=i) for i in ("bilinear", interpolation))
    assert 0 < np.abs(bilinear.astype(int) - other).mean() < 10


def test_an_interpolation_that_does_not_exist_is_refused_in_one_line(videos: Videos) -> None:
    with pytest.raises(UserError, match="'cubic'; allowed: bilinear, bicubic, area, lanczos"):
        read_clip(videos(), 0, 1, interpolation="cubic")


def test_odd_sizes_are_read_as_they_are(videos: Videos) -> None:
    path = videos(".mkv", width=161, height=121, codec=("-c:v", "ffv1", "-pix_fmt", "yuv444p"))
    assert read_clip(path, 0, 1, short_side=121).shape == (25, 121, 161, 3)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_rotated_video_comes_out_upright(videos: Videos, tmp_path: Path, turn: int) -> None:
    upright = read_clip(videos(), 0, 1, short_side=120)
    ffmpeg("-display_rotation", turn, "-i", videos(), "-c", "copy", tmp_path / "turned.mp4")
    turned = read_clip(tmp_path / "turned.mp4", 0, 1, short_side=120)
    back = np.rot90(turned, k=-turn // 90, axes=(1, 2))  # the option turns counter-clockwise
    assert np.abs(back.astype(int) - upright).mean() < 3
    assert numbers_of(back) == list(range(25))


@pytest.mark.parametrize(("turn", "expected"), [(0, (120, 213)), (90, (213, 120))])
def test_pixels_that_are_not_square_are_stretched_also_when_the_picture_is_turned(
    videos: Videos, tmp_path: Path, turn: int, expected: tuple[int, int]
) -> None:
    ffmpeg("-i", videos(), "-vf", "setsar=4/3", "-c:v", "libx264", tmp_path / "wide.mp4")
    ffmpeg("-display_rotation", turn, "-i", tmp_path / "wide.mp4", "-c", "copy", tmp_path / "turned.mp4")
    assert read_clip(tmp_path / "turned.mp4", 0, 1, short_side=120).shape[1:3] == expected


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p10le", "yuv444p", "gray", "bgr0"])
@pytest.mark.parametrize(("width", "height"), [(170, 128), (128, 130), (128, 142), (360, 240)])
@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
def test_the_pixels_are_those_of_a_scaler_that_makes_packed_colours_at_once(
    tmp_path: Path, width: int, height: int, pixels: str, interpolation: str
) -> None:
    source = f"testsrc2=size={width}x{height}:rate=25:duration=0.2,noise=alls=60:allf=t,format={pixels}"
    codec = ("libx264rgb", "-crf", 0) if pixels == "bgr0" else ("libx264", "-crf", 0)
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", *codec, tmp_path / "noise.mp4")
    size = f"128:{round(128 * height / width)}" if height > width else f"{round(128 * width / height)}:128"
    scale = f"scale={size}:flags={interpolation}+accurate_rnd+full_chroma_int+bitexact,format=rgb24"
    ffmpeg("-i", tmp_path / "noise.mp4", "-vf", scale, "-f", "rawvideo", tmp_path / "packed")
    frames = read_clip(tmp_path / "noise.mp4", 0, 0.2, short_side=128, interpolation=interpolation)
    assert frames.tobytes() == (tmp_path / "packed").read_bytes()


def test_memory_is_used_again_only_when_nobody_holds_the_frames(videos: Videos) -> None:
    piece = read_clip(videos(), 0, 1, short_side=64)[3:5]
    kept, other = piece.copy(), read_clip(videos(), 1, 2, short_side=64)
    assert np.array_equal(piece, kept)
    place = other.ctypes.data
    del other
    assert read_clip(videos(), 0, 0.6, short_side=64).ctypes.data == place


COLOURS = np.array([(200, 30, 30), (30, 160, 30), (40, 40, 200), (230, 230, 230), (20, 20, 20), (180, 160, 30)])


@pytest.mark.parametrize(
    "encoding",
    [
        ("-pix_fmt", "yuv420p"),
        ("-pix_fmt", "yuv444p10le"),
        ("-pix_fmt", "yuv422p"),
        ("-vf", "scale=out_range=full,format=yuv420p", "-color_range", "pc"),
        ("-vf", "scale=out_color_matrix=bt709,format=yuv420p", "-colorspace", "bt709", "-color_trc", "bt709"),
    ],
)
def test_colours_come_out_as_they_went_in_whatever_range_depth_and_matrix(
    tmp_path: Path, encoding: tuple[str, ...]
) -> None:
    picture = np.repeat(np.repeat(COLOURS.reshape(2, 3, 3), 64, axis=0), 64, axis=1).astype(np.uint8)
    raw = np.repeat(picture[None], 25, axis=0).tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "192x128", "-r", 25, "-i", "-")
    ffmpeg(*source, "-c:v", "libx264", "-crf", 8, *encoding, tmp_path / "colours.mp4", stdin=raw)
    frame = read_clip(tmp_path / "colours.mp4", 0, 1, short_side=128)[12].astype(float)
    seen = [
        frame[64 * y + 24 : 64 * y + 40, 64 * x + 24 : 64 * x + 40].mean(axis=(0, 1)) for y in (0, 1) for x in range(3)
    ]
    assert np.abs(np.array(seen) - COLOURS).max() < 5


def test_a_grey_video_has_three_equal_channels(videos: Videos) -> None:
    frames = read_clip(videos(codec=("-c:v", "libx264", "-pix_fmt", "gray")), 0, 1, short_side=64)
    assert np.abs(frames[..., 0].astype(int) - frames[..., 2]).max() <= 1
    assert frames.std() > 20


def test_interlaced_frames_are_deinterlaced(videos: Videos) -> None:
    codec = ("-vf", "interlace=lowpass=off", "-c:v", "libx264", "-flags", "+ildct+ilme", "-crf", "10")
    path = videos(fps=50, speed=4.0, codec=codec, number=False)
    frames = read_clip(path, 0, 1, short_side=120)[..., 1].astype(float)
    with av.open(str(path)) as container:
        woven = np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])[:25].astype(float)

    def combing(pictures: np.ndarray) -> float:
        return float(np.abs(pictures[:, 1:-1] - (pictures[:, :-2] + pictures[:, 2:]) / 2).mean())

    assert combing(frames) < 0.5 * combing(woven)


def test_a_cover_picture_is_not_taken_for_the_video(videos: Videos, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=400x400", "-frames:v", 1, tmp_path / "cover.jpg")
    inputs = ("-i", tmp_path / "cover.jpg", "-i", videos(), "-map", 0, "-map", 1)
    ffmpeg(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", tmp_path / "covered.mp4")
    assert numbers_of(read_clip(tmp_path / "covered.mp4", 0, 1, short_side=64)) == list(range(25))


def test_subtitles_and_titles_that_look_like_messages_change_nothing(videos: Videos, tmp_path: Path) -> None:
    (tmp_path / "text.srt").write_text("1\n00:00:00,000 --> 00:00:30,000\n[error] hello\n")
    title = "title=[error] broken\nInput #0, concat, from 'file:\n  Duration: 99:00:00.00, start: 50.000000"
    ffmpeg("-i", videos(), "-i", tmp_path / "text.srt", "-c", "copy", "-metadata", title, tmp_path / "film.mkv")
    assert len(read_clip(tmp_path / "film.mkv", 0, 2, short_side=64)) == 50


def test_pictures_of_an_absurd_shape_are_refused(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=4000x16:d=1", tmp_path / "wide.mp4")
    with pytest.raises(BrokenVideo, match="16 times"):
        read_clip(tmp_path / "wide.mp4", 0, 1)


def test_more_frames_than_the_memory_should_hold_are_refused(videos: Videos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinetics_pipeline.video.frames.MAX_BYTES", 30 * 64 * 85 * 3)
    assert len(read_clip(videos(), 0, 1.2, short_side=64)) == 30
    with pytest.raises(BrokenVideo, match="GiB of frames"):
        read_clip(videos(), None, None, short_side=64)


@pytest.mark.parametrize("codec", [H264, ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p")])
def test_the_same_file_gives_the_same_bytes(videos: Videos, codec: tuple[str, ...]) -> None:
    path = videos(".mkv", codec=codec)
    assert np.array_equal(read_clip(path, 0, 2, short_side=96), read_clip(path, 0, 2, short_side=96))
