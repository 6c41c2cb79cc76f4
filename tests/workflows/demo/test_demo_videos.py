"""The demo's videos move as their labels say, and their annotations are Kinetics'."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.workflows.demo.videos import (
    CLASSES,
    FORMATS,
    MISSING_ID,
    Rendered,
    _pose,
    frames_of,
    render_videos,
    write_annotations,
)

COUNT = 40


@pytest.mark.parametrize("number", range(len(CLASSES)), ids=CLASSES)
def test_a_video_moves_as_its_label_says(number: int):
    """Measured by Farnebaeck's flow, which the pipeline does not use."""
    video = Rendered(number)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames_of(video)]
    middle = len(grey) * (video.start + 1) // 3  # of the clip: the disc is in the middle of its path
    flows = [
        cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        for a, b in pairwise(grey[middle - 3 : middle + 4])
    ]
    u, v = np.moveaxis(np.mean(flows, axis=0), 2, 0)
    moving = np.hypot(u, v) > 0.2
    y, x = (axis - axis[moving].mean() for axis in np.mgrid[0 : u.shape[0], 0 : u.shape[1]].astype(float))
    measures = {
        "moving right": u[moving].mean(),
        "moving down": v[moving].mean(),
        "growing": (x * u + y * v)[moving].mean() / np.hypot(x, y)[moving].mean(),
        "turning right": (x * v - y * u)[moving].mean() / np.hypot(x, y)[moving].mean(),
    }
    opposites = {"moving left": "moving right", "moving up": "moving down", "shrinking": "growing"}
    opposites["turning left"] = "turning right"
    measures |= {name: -measures[opposite] for name, opposite in opposites.items()}
    assert max(measures, key=lambda name: measures[name]) == video.label


def test_places_and_sizes_at_a_moment_are_spread_alike_in_every_class():
    """Else a single frame would give the class away."""
    random = np.random.default_rng(0)
    spread = {}
    for label in CLASSES:
        drawn = [_pose(label, random.uniform(-1, 1), random.uniform(-1, 1, 3).tolist()) for _ in range(4000)]
        values = np.array([(*place, np.log(scale)) for place, scale, _ in drawn])
        spread[label] = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    for label in CLASSES:
        np.testing.assert_allclose(spread[label], spread[CLASSES[0]], atol=0.06)
    assert np.ptp(spread[CLASSES[0]], axis=0).min() > 0.5


def test_every_class_is_in_both_splits_and_in_every_format():
    videos = [Rendered(number) for number in range(COUNT)]
    for label in CLASSES:
        mine = [v for v in videos if v.label == label]
        assert {v.split for v in mine} == {"train", "val"}
        assert {v.format for v in mine} == set(FORMATS)


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


def test_the_videos_are_h264_of_their_format_and_longer_than_their_clip(tmp_path: Path):
    for video in render_videos(tmp_path, len(FORMATS)):
        width, height, rate = video.format
        with av.open(str(tmp_path / f"{video.video_id}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height, str(stream.average_rate)) == (width, height, rate)
            assert float(stream.duration * stream.time_base) > video.end - video.start
            assert sum(1 for _ in container.decode(stream)) == stream.frames


def test_the_same_videos_are_rendered_each_time(tmp_path: Path):
    for name in ("a", "b"):
        render_videos(tmp_path / name, 2)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
