"""Losses and average precisions of several actions a video, against computations of another kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.models import InputError, build_model
from kinetics_pipeline.models.scoring.actions import (
    ActionScores,
    action_loss,
    average_precision,
    even_frames,
    mean_average_precision,
    upsample,
)


def brute_force(scores: list[float], right: list[bool]) -> float:
    """Area under the steps of precision over recall: for every threshold, counted one item at a time."""
    total, area, recall_before = sum(right), 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [r for s, r in zip(scores, right, strict=True) if s >= threshold]
        recall, precision = sum(taken) / total, sum(taken) / len(taken)
        area += (recall - recall_before) * precision
        recall_before = recall
    return area


@given(items=st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_the_area_under_its_curve_with_ties_too(items: list[tuple[int, bool]]) -> None:
    scores, right = [float(s) for s, _ in items], [r for _, r in items]
    found = average_precision(np.array(scores), np.array(right))
    if not any(right):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(brute_force(scores, right))


def test_the_mean_is_over_the_classes_that_appear() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.4], [0.1, 0.3, 0.6]])
    right = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
    expected = (
        brute_force([0.9, 0.8, 0.1], [True, False, True]) + brute_force([0.5, 0.4, 0.6], [False, True, False])
    ) / 2
    assert mean_average_precision(scores, right) == pytest.approx(expected)
    with pytest.raises(InputError, match=r"both \[items, classes\]"):
        mean_average_precision(scores, right[:2])
    with pytest.raises(InputError, match="not numbers"):
        mean_average_precision(scores * np.nan, right)


def test_the_loss_is_half_of_every_frame_and_half_of_the_highest() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 5, dtype=torch.float64), (torch.rand(2, 3, 5) > 0.7).double()
    x, y = logits.numpy(), targets.numpy()

    def cross_entropy(x: np.ndarray, y: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-x))
        return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    expected = (cross_entropy(x, y) + cross_entropy(x.max(axis=2), y.max(axis=2))) / 2
    assert float(action_loss(logits, targets)) == pytest.approx(expected)
    with pytest.raises(InputError, match="allowed: both"):
        action_loss(logits, targets[:, :, :4])


def test_upsampling_keeps_a_ramp_a_ramp_and_a_constant_a_constant() -> None:
    ramp = torch.arange(8.0)[None, None]
    found = upsample(ramp, 64)
    assert found.shape == (1, 1, 64)
    inner = found[0, 0, 4:-4]
    torch.testing.assert_close(inner.diff(), torch.full_like(inner[1:], 1 / 8))
    assert torch.equal(upsample(torch.full((1, 2, 3), 5.0), 17), torch.full((1, 2, 17), 5.0))


@given(frames=st.integers(1, 2000))
def test_25_frames_are_even_and_in_the_video(frames: int) -> None:
    chosen = even_frames(frames)
    assert len(chosen) == 25
    assert chosen[0] == 0
    assert chosen[-1] < frames
    assert (np.diff(chosen) >= frames // 25).all()


def test_scores_over_videos_are_those_of_maxima_and_of_25_frames_each() -> None:
    random = np.random.default_rng(0)
    videos = [(random.normal(size=(4, n)).astype(np.float32), random.random((4, n)) > 0.8) for n in (30, 77, 25, 120)]
    scores = ActionScores()
    for logits, truth in videos:
        scores.add(torch.from_numpy(logits), torch.from_numpy(truth))
    result = scores.result()
    classification = [
        brute_force([float(v.max(axis=1)[k]) for v, _ in videos], [bool(t[k].any()) for _, t in videos])
        for k in range(4)
    ]
    assert result["classification_map"] == pytest.approx(np.mean(classification))
    frames = []
    for k in range(4):
        values = [float(v[k, i * v.shape[1] // 25]) for v, _ in videos for i in range(25)]
        right = [bool(t[k, i * t.shape[1] // 25]) for _, t in videos for i in range(25)]
        frames.append(brute_force(values, right))
    assert result["localisation_map"] == pytest.approx(np.mean(frames))


def test_i3d_s_dense_logits_become_one_a_frame() -> None:
    model = build_model("i3d", 3, 2).eval()
    with torch.no_grad():
        dense = model.dense_logits(torch.randn(1, 2, 40, 32, 32))
    assert upsample(dense, 40).shape == (1, 3, 40)
