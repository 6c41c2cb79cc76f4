"""Evaluation and its metrics, against counts by hand and against scikit-free definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kinetics_pipeline.models import Diverged, InputError
from kinetics_pipeline.models.scoring.evaluation import Predictions, evaluate
from kinetics_pipeline.models.scoring.metrics import (
    confusion,
    cross_entropy,
    fuse,
    labelled,
    mean_error,
    per_class,
    softmax,
    top_k,
)


class FirstValues(nn.Module):
    """The first three values of a clip as its logits; in training mode nothing but NaN."""

    inputs = ("video",)

    def forward(self, video: Tensor) -> Tensor:
        return video.flatten(1)[:, :3] * (float("nan") if self.training else 1.0)


def clips(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)[:, None, :, None, None]


def predictions(logits: list[list[float]], labels: list[int], names: str = "abcdef") -> Predictions:
    return Predictions(tuple(names[: len(labels)]), np.array(logits, np.float32), np.array(labels, np.int64))


SCORES = predictions([[3, 2, 1], [1, 2, 3], [1, 3, 2], [0, 0, 5]], [0, 0, 2, 2])


def test_views_of_a_clip_are_averaged_and_labels_kept() -> None:
    model = FirstValues().train()
    batches = [
        {"video": clips([[1, 2, 3], [0, 0, 1]]), "clip_id": ["x", "y"], "label": torch.tensor([2, 1])},
        {"video": clips([[3, 2, 1]]), "clip_id": ["x"], "label": torch.tensor([2])},
    ]
    found = evaluate(model, batches)
    assert found.clip_ids == ("x", "y")
    np.testing.assert_array_equal(found.logits, [[2, 2, 2], [0, 0, 1]])
    assert found.labels.tolist() == [2, 1]
    assert model.training


def test_a_clip_without_finite_logits_is_named() -> None:
    batch = {"video": clips([[1, 2, 3], [0, math.nan, 1]]), "clip_id": ["x", "broken"]}
    with pytest.raises(Diverged, match="the logits of clip broken are not finite"):
        evaluate(FirstValues(), [batch])
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate(FirstValues(), [])


def test_accuracies_are_those_counted_by_hand() -> None:
    assert top_k(SCORES, 1) == 0.5
    assert top_k(SCORES, 2) == 0.75
    assert mean_error(SCORES) == pytest.approx(1 - (0.5 + 1.0) / 2)
    np.testing.assert_array_equal(confusion(SCORES), [[1, 0, 1], [0, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(per_class(SCORES), np.array([0.5, math.nan, 0.5], np.float32))


def test_the_score_of_the_challenge_is_that_of_its_winner() -> None:
    """Top-1 74.2 % and top-5 91.3 % made 17.25."""
    rows, labels = [], []
    for clip in range(1000):
        rank = 0 if clip < 742 else 3 if clip < 913 else 7
        rows.append([float(-abs(i - 0.1)) for i in range(10)])
        labels.append(rank)
    found = Predictions(tuple(map(str, range(1000))), np.array(rows, np.float32), np.array(labels, np.int64))
    assert 100 * mean_error(found) == pytest.approx(17.25)


def test_a_network_that_says_the_same_of_all_classes_gets_nothing_right() -> None:
    assert top_k(predictions([[1, 1, 1]], [0]), 1) == 0.0


def test_the_loss_is_torchs_cross_entropy() -> None:
    expected = nn.functional.cross_entropy(torch.tensor(SCORES.logits), torch.tensor(SCORES.labels))
    assert cross_entropy(SCORES) == pytest.approx(float(expected), rel=1e-6)


def test_streams_are_fused_by_clip_and_either_way() -> None:
    rgb = predictions([[4, 0], [0, 1]], [0, 1], "ab")
    flow = predictions([[0, 9], [0, 3]], [1, 0], "ca")
    np.testing.assert_array_equal(fuse(rgb, flow).logits, [[4, 3]])
    assert fuse(rgb, flow).clip_ids == ("a",)
    both = (softmax(rgb.logits[:1]) + softmax(flow.logits[1:])) / 2
    np.testing.assert_allclose(fuse(rgb, flow, "softmax").logits, both, rtol=1e-6)
    assert fuse(rgb, flow, "softmax").logits.sum() == pytest.approx(1)


def test_streams_that_do_not_belong_together_are_refused() -> None:
    rgb = predictions([[4, 0], [0, 1]], [0, 1], "ab")
    with pytest.raises(InputError, match="no clip in common"):
        fuse(rgb, predictions([[4, 0]], [0], "z"))
    with pytest.raises(InputError, match="streams of 2 and 3 classes"):
        fuse(rgb, predictions([[4, 0, 1]], [0], "a"))
    with pytest.raises(InputError, match="clip b has another label in each stream"):
        fuse(rgb, predictions([[4, 0], [4, 0]], [0, 0], "ab"))
    with pytest.raises(InputError, match="no fusion 'max'; allowed: logits, softmax"):
        fuse(rgb, rgb, "max")  # type: ignore[arg-type]


def test_clips_without_a_label_are_left_out_of_accuracies() -> None:
    found = labelled(predictions([[1, 0], [0, 1], [1, 0]], [0, -1, 1]))
    assert found.clip_ids == ("a", "c")
    assert top_k(found, 1) == 0.5
