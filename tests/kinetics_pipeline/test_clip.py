"""The way of one clip: which file it comes from, its frames and its flow, and what is recorded when it fails."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.clip import ClipResult, process_clip
from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, FrameFacts, clip_id
from kinetics_pipeline.shards.clip_rows import decode_payload, rows_of, shape_of
from kinetics_pipeline.shards.codec import dequantise_flow
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.video.frames import read_clip
from tests.builders.videos import Videos

RGB = Recipe(short_side=32, flow="none", layout="array")
FLOW = Recipe(short_side=32, flow_backend="opencv", layout="array")


def clip(start: float | None, end: float | None) -> Clip:
    return Clip(clip_id("abc", start, end), "abc", start, end, "jumping", "train")


def process(recipe: Recipe, start: float | None, end: float | None, *files: Path, **kwargs: float) -> ClipResult:
    return process_clip(clip(start, end), [Media(f, "folder") for f in files], recipe, 7, **kwargs)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "broken.mp4").write_text("<html>" * 100)
    return tmp_path / "broken.mp4"


def test_the_rows_hold_the_frames_of_the_clip_and_its_label(videos: Videos) -> None:
    done = process(RGB, 0.5, 1.5, videos())
    assert (done.outcome, done.detail, done.source, done.frames) == ("ok", "", "folder", 25)
    assert np.array_equal(decode_payload(done.payload, "rgb", "array"), read_clip(videos(), 0.5, 1.5, short_side=32))
    rows = rows_of(done.payload)
    assert shape_of(rows).clip_id == "abc_000000.500_000001.500"
    assert rows.column(rows.schema.get_field_index("label")).to_pylist() == [7, 7]


def test_the_last_flow_is_the_motion_to_the_frame_after_the_clip(videos: Videos) -> None:
    done = process(FLOW, 0.5, 0.9, videos())
    after = tvl1(read_clip(videos(), 0.5, 0.94, short_side=32), "opencv")
    assert done.frames == 10
    assert np.array_equal(decode_payload(done.payload, "flow", "array"), quantise_flow(after))


def test_where_the_video_ends_the_last_flow_is_repeated(videos: Videos) -> None:
    flow = decode_payload(process(FLOW, 1.6, 2.0, videos()).payload, "flow", "array")
    assert len(flow) == 10
    assert np.array_equal(flow[-1], flow[-2])
    assert not np.array_equal(flow[-2], flow[-3])


def test_the_flow_of_a_video_that_moves_right_points_right(videos: Videos) -> None:
    video = videos(motion="right", speed=2.0, width=128, height=128, number=False)
    flow = dequantise_flow(decode_payload(process(FLOW, 0, 0.4, video).payload, "flow", "array"))
    assert abs(np.median(flow[:, 0]) - 0.5) < 0.15  # two of 128 pixels a frame are half of one of 32
    assert abs(np.median(flow[:, 1])) < 0.1


def test_a_single_frame_does_not_move(videos: Videos) -> None:
    done = process(FLOW, None, None, videos(seconds=0.04))
    assert done.frames == 1
    assert np.abs(dequantise_flow(decode_payload(done.payload, "flow", "array"))).max() < 0.1


def test_a_clip_of_one_frame_still_has_the_motion_to_the_next(videos: Videos) -> None:
    done = process(FLOW, 1.0, 1.04, videos(speed=4.0))
    assert done.frames == 1
    assert np.abs(dequantise_flow(decode_payload(done.payload, "flow", "array"))).max() > 0.3


@pytest.mark.parametrize("recipe", [RGB, FLOW])
def test_a_whole_video_has_all_its_frames(videos: Videos, recipe: Recipe) -> None:
    assert process(recipe, None, None, videos(seconds=0.6)).frames == 15


def test_a_clip_half_there_is_ok_with_fewer_frames(videos: Videos) -> None:
    done = process(FLOW, 1.6, 2.4, videos())
    assert (done.outcome, done.frames) == ("ok", 10)
    assert len(decode_payload(done.payload, "flow", "array")) == 10


def test_the_first_file_that_decodes_is_used_and_the_others_are_named(videos: Videos, broken: Path) -> None:
    good = videos()
    done = process(RGB, 0, 1, broken, good)
    assert (done.outcome, done.frames) == ("ok", 25)
    assert done.detail.startswith("broken.mp4: ")
    assert done.detail.endswith(f"; used {good.name}")


def test_of_several_failures_the_most_hopeful_counts_and_all_are_told(videos: Videos, broken: Path) -> None:
    short = videos()
    done = process(RGB, 0, 10, broken, short)
    assert (done.outcome, done.payload, done.frames, done.source) == ("too_short", b"", 0, "")
    assert "broken.mp4: " in done.detail
    assert f"{short.name}: the file holds 50 of 250 frames" in done.detail


def test_a_broken_file_is_decode_in_one_line_without_folders(broken: Path) -> None:
    done = process(RGB, 0, 1, broken)
    assert done.outcome == "decode"
    assert "\n" not in done.detail
    assert str(broken.parent) not in done.detail


def test_a_file_that_cannot_be_read_is_tried_again_another_time(tmp_path: Path) -> None:
    done = process(RGB, 0, 1, tmp_path / "vanished.mp4")
    assert (done.outcome, done.detail) == ("internal", "vanished.mp4: No such file or directory")


def test_a_decode_that_outlasts_its_time_is_tried_again_another_time(videos: Videos) -> None:
    done = process(RGB, 0, 1, videos(), decode_timeout=0.001)
    assert (done.outcome, done.payload) == ("internal", b"")
    assert "took more than 0.001 s" in done.detail


def test_a_clip_that_no_source_has_is_not_found() -> None:
    assert process(RGB, 0, 1).outcome == "not_found"


def test_a_file_trimmed_to_the_clip_is_read_from_its_beginning(videos: Videos) -> None:
    done = process_clip(clip(417, 418), [Media(videos(), "folder", offset=417)], RGB, 0)
    assert np.array_equal(decode_payload(done.payload, "rgb", "array"), read_clip(videos(), 0, 1, short_side=32))


def test_seconds_are_told_by_stage(videos: Videos) -> None:
    done = process(FLOW, 0, 0.4, videos())
    assert set(done.seconds) == {"decode", "flow", "encode"}
    assert all(s > 0 for s in done.seconds.values())
    assert process(RGB, 0, 0.4, videos()).seconds["flow"] < 0.001


def test_the_same_file_gives_the_same_bytes(videos: Videos) -> None:
    for recipe in (FLOW, dataclasses.replace(FLOW, layout="parquet")):
        first, again = (process(recipe, 0, 0.4, videos()) for _ in range(2))
        assert first.payload == again.payload != b""


def test_the_facts_tell_the_video_s_own_rate_and_size_and_the_frames_that_are_repeated(videos: Videos) -> None:
    slow = process(dataclasses.replace(RGB, layout="parquet"), 0.0, 1.0, videos(fps=12.5))
    frames = read_clip(videos(fps=12.5), 0.0, 1.0, short_side=32)
    same = sum(np.array_equal(one, other) for one, other in itertools.pairwise(frames))
    assert same >= 12
    assert dataclasses.astuple(slow.facts) == (12.5, 160, 120, same)
    assert process(RGB, 0.0, 1.0, videos()).facts.repeated == 0


def test_a_clip_without_frames_has_no_facts(broken: Path) -> None:
    assert process(RGB, 0.0, 1.0, broken).facts == FrameFacts()
