"""The discs of `paper reproduce motion` move as their labels say, and a single frame does not tell how."""

from __future__ import annotations

import numpy as np
import pytest

from kinetics_pipeline.workflows.demo.videos import CLASSES
from kinetics_pipeline.workflows.paper.motion_videos import FORMATS, Rendered, _pose, frames_of
from tests.builders.motion_classes import motion_of

COUNT = 40


@pytest.mark.parametrize("number", range(len(CLASSES)), ids=CLASSES)
def test_a_video_moves_as_its_label_says(number: int):
    video = Rendered(number)
    frames = list(frames_of(video))
    middle = len(frames) * (video.start + 1) // 3  # of the clip: the disc is in the middle of its path
    assert motion_of(frames[middle - 3 : middle + 4]) == video.label


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
