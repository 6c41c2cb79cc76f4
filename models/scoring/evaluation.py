"""Computes the logits of clips, the mean over their views. `metrics` has what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

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


ALL = ""
"""The head that is the network's answer; networks with heads of their own for their streams have others beside it."""
Compute = Callable[[nn.Module, Sequence[Tensor]], Mapping[str, Tensor]]
"""Logits [N, classes] by head, of a network called on its inputs."""


def compute_heads(model: nn.Module, inputs: Sequence[Tensor]) -> Mapping[str, Tensor]:
    """The network's answer and, of Two-Stream, what each stream alone says; the answer is their mean."""
    if not hasattr(model, "head_logits"):
        return {ALL: model(*inputs)}
    heads: dict[str, Tensor] = model.head_logits(*inputs)  # type: ignore[operator]
    return {ALL: torch.stack(list(heads.values())).mean(dim=0), **heads}


@dataclass
class ViewSums:
    """Sums of logits over the views of clips. Those of several processes can be added: it is plain data."""

    sums: dict[str, dict[str, npt.NDArray[np.float64]]] = field(default_factory=dict)
    """Sums by head, then by clip."""
    views: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def add(self, clip_id: str, logits: Mapping[str, npt.NDArray[np.float64]], label: int, views: int = 1) -> None:
        for head, row in logits.items():
            of_head = self.sums.setdefault(head, {})
            of_head[clip_id] = of_head[clip_id] + row if clip_id in of_head else row
        self.views[clip_id] = self.views.get(clip_id, 0) + views
        self.labels[clip_id] = label

    def extend(self, other: ViewSums) -> None:
        for clip_id, views in other.views.items():
            rows = {head: of_head[clip_id] for head, of_head in other.sums.items()}
            self.add(clip_id, rows, other.labels[clip_id], views)

    def predictions(self, head: str = ALL) -> Predictions:
        """The mean over views. Raises InputError when there is no clip."""
        if not self.views:
            raise InputError("nothing to evaluate: there is no clip")
        rows = [total / self.views[clip_id] for clip_id, total in self.sums[head].items()]
        labels = np.array([self.labels[clip_id] for clip_id in self.views], dtype=np.int64)
        return Predictions(tuple(self.views), np.stack(rows).astype(np.float32), labels)


def evaluate(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str = "cpu",
    precision: Precision = FP32,
    compute: Compute = compute_heads,
) -> Predictions:
    """Logits of every clip in `batches`, in evaluation mode; the model's own mode is restored.

    A batch has the tensors the model's `inputs` name, "clip_id" (N strings) and, where known, "label" (int64 [N]).
    I3D is convolutional in time, so a clip may be of any length; its logits are the mean over its steps. Logits of
    batches that repeat a clip_id (views, windows) are averaged.

    Raises:
        Diverged: logits that are not finite; names the first such clip.
        InputError: there is no clip.
    """
    return sum_views(model, batches, device, precision, compute).predictions()


@torch.no_grad()
def sum_views(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str = "cpu",
    precision: Precision = FP32,
    compute: Compute = compute_heads,
) -> ViewSums:
    """`evaluate` before the mean over views, for all heads; without a clip it is empty."""
    device = torch.device(device)
    was_training = model.training
    model.eval()
    found = ViewSums()
    try:
        for batch in batches:
            inputs = [precision.place(batch[name].to(device, non_blocking=True)) for name in model.inputs]  # type: ignore[union-attr]
            with precision.autocast(device):
                logits = compute(model, inputs)
            rows = {head: values.float().cpu().double().numpy() for head, values in logits.items()}
            ids: Sequence[str] = batch["clip_id"]
            known = batch["label"].tolist() if "label" in batch else [-1] * len(ids)
            for number, (clip_id, label) in enumerate(zip(ids, known, strict=True)):
                of_clip = {head: values[number] for head, values in rows.items()}
                if not all(np.isfinite(row).all() for row in of_clip.values()):
                    raise Diverged(0, f"the logits of clip {clip_id} are not finite", None)
                found.add(clip_id, of_clip, label)
    finally:
        model.train(was_training)
    return found
