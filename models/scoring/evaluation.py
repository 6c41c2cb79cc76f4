"""Computes the logits of clips, the mean over their views. `metrics` has what is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kinetics_pipeline.models.errors import Diverged, InputError
from kinetics_pipeline.models.precision import FP32, Precision

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """Logits and labels of clips, a row for each clip in the order of first appearance."""

    clip_ids: tuple[str, ...]
    logits: FloatArray
    """[clips, classes], the mean over a clip's views."""
    labels: IntArray
    """[clips]; -1 where there is none."""

    def __post_init__(self) -> None:
        assert self.logits.shape[:1] == self.labels.shape == (len(self.clip_ids),)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str = "cpu",
    precision: Precision = FP32,
) -> Predictions:
    """Logits of every clip in `batches`, in evaluation mode; the model's own mode is restored.

    A batch has the tensors the model's `inputs` name, "clip_id" (N strings) and, where known, "label" (int64 [N]).
    I3D is convolutional in time, so a clip may be of any length; its logits are the mean over its steps. Logits of
    batches that repeat a clip_id (views, windows) are averaged.

    Raises:
        Diverged: logits that are not finite; names the first such clip.
        InputError: there is no clip.
    """
    device = torch.device(device)
    was_training = model.training
    model.eval()
    sums: dict[str, npt.NDArray[np.float64]] = {}
    views: dict[str, int] = {}
    labels: dict[str, int] = {}
    try:
        for batch in batches:
            inputs = [precision.place(batch[name].to(device, non_blocking=True)) for name in model.inputs]  # type: ignore[union-attr]
            with precision.autocast(device):
                logits = model(*inputs)
            rows = logits.float().cpu().double().numpy()
            ids: Sequence[str] = batch["clip_id"]
            known = batch["label"].tolist() if "label" in batch else [-1] * len(ids)
            for clip_id, row, label in zip(ids, rows, known, strict=True):
                if not np.isfinite(row).all():
                    raise Diverged(0, f"the logits of clip {clip_id} are not finite", None)
                sums[clip_id] = sums[clip_id] + row if clip_id in sums else row
                views[clip_id] = views.get(clip_id, 0) + 1
                labels[clip_id] = label
    finally:
        model.train(was_training)
    if not sums:
        raise InputError("nothing to evaluate: there is no clip")
    return Predictions(
        clip_ids=tuple(sums),
        logits=np.stack([total / views[clip_id] for clip_id, total in sums.items()]).astype(np.float32),
        labels=np.array(list(labels.values()), dtype=np.int64),
    )
