"""Frames one after the other, and what a reader says of its choices. Odd files as such are in `tests.media_zoo`."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.clip import process_clip
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.video import read_clip, read_frames
from kinetics_pipeline.video.clock import Clock, continuous
from kinetics_pipeline.video.container import BrokenVideo, VideoStream, choose_stream
from kinetics_pipeline.video.packets import Packets
from tests.builders.videos import Videos, ffmpeg, numbers_of


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.0, 1.0), (5.0, 6.5)])
def test_the_iterator_gives_the_frames_of_the_array(videos: Videos, start: float | None, end: float | None) -> None:
    path = videos(seconds=8.0)
    frames = list(read_frames(path, start, end, short_side=64, lookahead=1))
    assert np.array_equal(np.stack(frames), read_clip(path, start, end, short_side=64, lookahead=1))


def test_the_iterator_holds_one_frame_however_long_the_video_is(videos: Videos) -> None:
    path = videos(seconds=8.0)
    tracemalloc.start()
    numbers = [numbers_of(frame[None])[0] for frame in read_frames(path, short_side=240)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert numbers == list(range(200))
    assert most < 20 * 240 * 320 * 3


def test_an_iterator_that_is_left_early_leaves_no_program_behind(videos: Videos) -> None:
    frames = read_frames(videos(seconds=8.0), short_side=64)
    assert numbers_of(next(frames)[None]) == [0]
    frames.close()  # type: ignore[attr-defined]


def test_damage_ends_the_iterator_with_an_exception(videos: Videos, tmp_path: Path) -> None:
    data = videos(".mkv", seconds=8.0).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenVideo):
        list(read_frames(tmp_path / "cut.mkv", short_side=64))


def test_the_record_says_which_of_several_streams_was_taken(videos: Videos, tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    still = ("-f", "lavfi", "-i", "color=red:s=640x480:r=25:d=0.04")
    ffmpeg(*still, "-i", videos(), "-map", 0, "-map", 1, "-c:v", "libx264", "-crf", 12, path)
    recipe = Recipe(flow="none", short_side=120)
    done = process_clip(Clip("a", "a", 0.0, 1.0, None, "train"), [Media(path, "folder")], recipe, -1)
    assert (done.outcome, done.frames, done.detail) == ("ok", 25, "took video stream 1 of 2")


def test_the_record_says_that_a_picture_is_smaller_than_the_recipe(videos: Videos) -> None:
    clip = Clip("a", "a", 0.0, 1.0, None, "train")
    for side, said in ((122, "enlarged from a short side of 120"), (120, "")):
        done = process_clip(clip, [Media(videos(), "folder")], Recipe(flow="none", short_side=side), -1)
        assert (done.outcome, done.detail) == ("ok", said)


def test_the_stream_is_the_default_one_then_the_largest_then_the_longest() -> None:
    def stream(index: int, pixels: int, default: bool = False) -> VideoStream:
        return VideoStream(index, "h264", 0.0, False, default, pixels, None)

    long, short, still = (50, 2.0), (25, 1.0), (1, 0.04)
    assert choose_stream([stream(0, 100), stream(1, 50, default=True)], {0: long, 1: short}).index == 1
    assert choose_stream([stream(0, 100, default=True), stream(1, 50)], {0: still, 1: short}).index == 1
    assert choose_stream([stream(0, 50), stream(1, 100)], {0: long, 1: short}).index == 1
    assert choose_stream([stream(0, 100), stream(1, 100)], {0: short, 1: long}).index == 1
    assert choose_stream([stream(0, 100), stream(1, 100)], {0: long, 1: long}).index == 0


def packets_at(*seconds: float, keys: tuple[int, ...] = (0,)) -> Packets:
    packets = Packets()
    packets.take(b"#tb 0: 1/1000")
    for number, second in enumerate(seconds):
        flags = b"" if number in keys else b", F=0x0"
        packets.take(b"0, %d, %d, 40, 100, 0x0%s" % (number, round(1000 * second), flags))
    return packets


def test_a_clock_that_runs_through_is_left_as_it_is() -> None:
    assert continuous(packets_at(5, 5.04, 5.08), None, lambda _: False).clock.starts == ()


def test_a_clock_that_starts_again_goes_on_where_it_was() -> None:
    line = continuous(packets_at(5, 5.04, 0, 0.04, keys=(0, 2)), None, lambda _: False)
    assert (line.times / 1e6).tolist() == [5, 5.04, 5.08, 5.12]
    assert line.clock == Clock((0,), (5_080_000,), 40_000)


def test_a_jump_ahead_needs_a_reason_in_a_container_without_an_index() -> None:
    packets = packets_at(0, 0.04, 9, 9.04, keys=(0, 2))
    with pytest.raises(BrokenVideo, match=r"the clock jumps ahead"):
        continuous(packets, None, lambda _: False)
    assert (continuous(packets, None, lambda _: True).times / 1e6).tolist() == [0, 0.04, 0.08, 0.12]
    assert (continuous(packets, None, None).times / 1e6).tolist() == [0, 0.04, 9, 9.04]
