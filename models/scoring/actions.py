"""Several actions in one video, each in its own time: losses and mean average precisions, as Charades has them.

Charades: Sigurdsson et al., "Hollywood in Homes", ECCV 2016; the losses are those of the I3D baseline for it (Carreira,
Charades challenge 2017; piergiaj/pytorch-i3d trains so too): half the mean over frames, half of the highest over time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from kinetics_pipeline.models.errors import InputError

EVEN_FRAMES = 25
"""Localisation is scored on so many frames of a video (the challenge's Charades_v1_localize.m)."""


def upsample(logits: Tensor, frames: int) -> Tensor:
    """Logits of steps [N, classes, T'] as logits of frames [N, classes, T], linearly in time."""
    return F.interpolate(logits, size=frames, mode="linear", align_corners=False)


def action_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of logits and targets [N, classes, T]: half the binary cross-entropy of every frame, half that of the
    maximum over time. Raises InputError for other shapes."""
    if logits.shape != targets.shape or logits.ndim != 3:
        raise InputError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)}; allowed: both [N, classes, T]"
        )
    each = F.binary_cross_entropy_with_logits(logits, targets)
    highest = F.binary_cross_entropy_with_logits(logits.amax(dim=2), targets.amax(dim=2))
    return (each + highest) / 2


def even_frames(frames: int, count: int = EVEN_FRAMES) -> npt.NDArray[np.int64]:
    """Numbers of `count` frames evenly over `frames`, from the first one on: floor(k * frames / count)."""
    return np.arange(count) * frames // count


def average_precision(scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> float:
    """Mean of the precision at each right item, items by falling score; NaN where nothing is right.

    Items of one score are one step of the curve: their order does not matter (as scikit-learn's has it).
    """
    if not right.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(right[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision = hits[ends] / (ends + 1)
    gained = np.diff(hits[ends], prepend=0)
    return float((precision * gained).sum() / hits[-1])


def mean_average_precision(scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> float:
    """The mean over the classes that appear, of scores and truth [items, classes]. NaN where none appears.

    Raises InputError for other shapes, and for scores that are no numbers.
    """
    if scores.shape != right.shape or scores.ndim != 2:
        raise InputError(f"scores {scores.shape} and truth {right.shape}; allowed: both [items, classes]")
    if np.isnan(scores).any():
        raise InputError("scores are not numbers")
    found = [average_precision(scores[:, k], right[:, k]) for k in range(scores.shape[1])]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


class ActionScores:
    """Gathers frames' logits and truth of one video after another, and gives both mean average precisions."""

    def __init__(self) -> None:
        self._videos: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]] = []
        self._frames: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]] = []

    @torch.no_grad()
    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Adds a video: its logits and truth, [classes, T] each."""
        chosen = even_frames(logits.shape[1])
        values, truth = logits.float().cpu().numpy(), targets.cpu().numpy() > 0.5
        self._videos.append((values.max(axis=1), np.asarray(truth.any(axis=1))))
        self._frames.append((values[:, chosen].T, truth[:, chosen].T))

    def extend(self, other: ActionScores) -> None:
        """Adds the videos that another process scored."""
        self._videos += other._videos
        self._frames += other._frames

    def result(self) -> dict[str, float]:
        """Raises InputError where no video was added."""
        if not self._videos:
            raise InputError("nothing to evaluate: there is no video")
        scores, truth = (np.stack(column) for column in zip(*self._videos, strict=True))
        frames, at = (np.concatenate(column) for column in zip(*self._frames, strict=True))
        return {
            "videos": float(len(scores)),
            "classification_map": mean_average_precision(scores, truth),
            "localisation_map": mean_average_precision(frames, at),
        }
