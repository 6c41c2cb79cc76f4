"""The demo's videos move as their labels say, and their annotations are Kinetics'."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.video import read_clip
from kinetics_pipeline.workflows.demo.videos import (
    CLASSES,
    FORMATS,
    MISSING_ID,
    SHOTS,
    VIDEO_SECONDS,
    Rendered,
    frames_of,
    pose,
    render_videos,
    write_annotations,
)
from tests.builders.motion_classes import motion_of

COUNT = 168


@pytest.mark.parametrize("number", range(len(CLASSES)), ids=CLASSES)
def test_a_video_moves_as_its_label_says(number: int):
    clip = Rendered(number)
    assert motion_of(list(frames_of(clip))[10:15]) == clip.label


def test_places_and_sizes_at_a_moment_are_spread_alike_in_every_class():
    """Else a single frame would give the class away; the scene is alike everywhere, so its place does not matter."""
    random = np.random.default_rng(0)
    spread = {}
    for label in CLASSES:
        drawn = [np.log(pose(label, *random.uniform(-0.5, 0.5, 2)).scale) for _ in range(4000)]
        spread[label] = np.quantile(drawn, [0.05, 0.25, 0.5, 0.75, 0.95])
    for label in CLASSES:
        np.testing.assert_allclose(spread[label], spread[CLASSES[0]], atol=0.06)
    assert np.ptp(spread[CLASSES[0]]) > 0.5


def test_the_clip_and_the_frame_after_it_are_of_one_shot(tmp_path: Path):
    """So that also the last flow is the motion of the clip."""
    clips = render_videos(tmp_path, SHOTS)
    for clip in clips:
        frames = read_clip(tmp_path / f"{clip.video_id}.mp4", clip.start, clip.end, short_side=72, lookahead=1)
        drawn = list(islice(frames_of(clip), len(frames)))
        difference = np.abs(frames.astype(float) - np.stack(drawn)).mean(axis=(1, 2, 3))
        assert difference.max() < 12  # what H.264 changes; another shot differs by forty and more


def test_every_class_is_in_both_splits_and_in_every_format():
    clips = [Rendered(number) for number in range(COUNT)]
    for label in CLASSES:
        mine = [c for c in clips if c.label == label]
        assert Counter(c.split for c in mine) == {"train": 15, "val": 6}
        assert {c.format for c in mine} == set(FORMATS)
    assert not {c.video_id for c in clips if c.split == "train"} & {c.video_id for c in clips if c.split == "val"}


def test_the_annotations_are_read_without_a_bad_row(tmp_path: Path):
    path = tmp_path / "annotations.csv"
    videos = [Rendered(number) for number in range(COUNT)]
    write_annotations(path, videos)
    annotations = load_annotations([path])
    assert annotations.bad_rows == []
    assert annotations.labels == sorted(CLASSES)
    assert len(annotations.table) == COUNT + 2
    assert set(annotations.table.video_id) == {v.video_id for v in videos} | {MISSING_ID}
    assert {len(video_id) for video_id in annotations.table.video_id} == {11}


def test_the_videos_are_h264_of_their_format_and_length(tmp_path: Path):
    for video in render_videos(tmp_path, SHOTS * len(FORMATS))[::SHOTS]:
        width, height, rate = video.format
        with av.open(str(tmp_path / f"{video.video_id}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height, str(stream.average_rate)) == (width, height, rate)
            assert float(stream.duration * stream.time_base) == VIDEO_SECONDS
            assert sum(1 for _ in container.decode(stream)) == stream.frames


def test_the_same_videos_are_rendered_each_time(tmp_path: Path):
    for name in ("a", "b"):
        render_videos(tmp_path / name, 2, seed=7)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
