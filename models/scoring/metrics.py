"""Accuracies of logits [clips, classes] against labels [clips], in numpy; and the fusion of two streams."""

from __future__ import annotations

from typing import Literal

import numpy as np

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.scoring.evaluation import FloatArray, IntArray, Predictions

Fusion = Literal["logits", "softmax"]


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities [clips, classes]."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


def fuse(first: Predictions, second: Predictions, how: Fusion = "logits") -> Predictions:
    """Two streams as one, over the clips that both have, in the order of `first`.

    "logits" adds them, as DeepMind's code does; "softmax" averages the predicted probabilities, as the paper says
    (section 2.4), and returns those in the place of logits.

    Raises:
        InputError: no clip in common, other numbers of classes, or two labels for one clip.
    """
    if how not in ("logits", "softmax"):
        raise InputError(f"no fusion {how!r}; allowed: logits, softmax")
    if first.logits.shape[1] != second.logits.shape[1]:
        raise InputError(
            f"streams of {first.logits.shape[1]} and {second.logits.shape[1]} classes cannot be fused; train both on "
            "one class list"
        )
    where = {clip_id: row for row, clip_id in enumerate(second.clip_ids)}
    rows = np.array([row for row, clip_id in enumerate(first.clip_ids) if clip_id in where], dtype=np.int64)
    if not len(rows):
        raise InputError("the two streams have no clip in common; evaluate both on one split of one dataset")
    ids = tuple(first.clip_ids[row] for row in rows)
    others = np.array([where[clip_id] for clip_id in ids], dtype=np.int64)
    labels = first.labels[rows]
    if differing := np.flatnonzero(labels != second.labels[others]).tolist():
        raise InputError(f"clip {ids[differing[0]]} has another label in each stream")
    a, b = first.logits[rows], second.logits[others]
    fused = a + b if how == "logits" else (softmax(a) + softmax(b)) / 2
    return Predictions(ids, fused.astype(np.float32), labels)


def labelled(predictions: Predictions) -> Predictions:
    """Returns the predictions of the clips that have a label."""
    rows = np.flatnonzero(predictions.labels >= 0)
    ids = tuple(predictions.clip_ids[row] for row in rows)
    return Predictions(ids, predictions.logits[rows], predictions.labels[rows])


def ranks(predictions: Predictions) -> IntArray:
    """[clips]: how many classes score at least as high as the right one, itself not counted; 0 is right.

    A tie counts against the prediction, so a network that says the same of all classes gets nothing right.
    """
    right = np.take_along_axis(predictions.logits, predictions.labels[:, None], axis=1)
    return np.asarray((predictions.logits >= right).sum(axis=1) - 1, dtype=np.int64)


def top_k(predictions: Predictions, k: int) -> float:
    """Share of clips whose class is among the k highest. NaN without clips."""
    return float((ranks(predictions) < k).mean()) if len(predictions.labels) else float("nan")


def mean_error(predictions: Predictions) -> float:
    """Mean of top-1 and top-5 error, the score of the Kinetics challenge."""
    return 1 - (top_k(predictions, 1) + top_k(predictions, 5)) / 2


def cross_entropy(predictions: Predictions) -> float:
    """Mean loss, natural logarithm; what a plateau schedule looks at."""
    logits = predictions.logits.astype(np.float64)
    highest = logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    right = np.take_along_axis(logits, predictions.labels[:, None], axis=1)[:, 0]
    return float((log_sums - right).mean())


def confusion(predictions: Predictions) -> IntArray:
    """[classes, classes]: clips of the row's class for which the column's scored highest."""
    classes = predictions.logits.shape[1]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (predictions.labels, predictions.logits.argmax(axis=1)), 1)
    return counts


def per_class(predictions: Predictions) -> FloatArray:
    """[classes]: top-1 accuracy of each class; NaN for one without clips."""
    right = ranks(predictions) == 0
    classes = predictions.logits.shape[1]
    clips = np.bincount(predictions.labels, minlength=classes)
    hits = np.bincount(predictions.labels, weights=right, minlength=classes)
    accuracy = np.full(classes, np.nan, dtype=np.float32)
    np.divide(hits, clips, out=accuracy, where=clips > 0, casting="same_kind")
    return accuracy


def mean_class_accuracy(predictions: Predictions) -> float:
    """Mean of the top-1 accuracies of the classes that have clips: every class counts the same. NaN without clips."""
    accuracies = per_class(predictions)
    there = accuracies[~np.isnan(accuracies)]
    return float(there.mean()) if len(there) else float("nan")
