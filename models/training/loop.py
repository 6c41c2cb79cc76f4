"""The training loop: batches in, one line of metrics a step out. Knows nothing of Ray, files or datasets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetics_pipeline.models.errors import Diverged
from kinetics_pipeline.models.scoring.actions import action_loss
from kinetics_pipeline.models.training.state import TrainingState

Batch = Mapping[str, Any]
"""A tensor for each of the model's `inputs` ("video", or "rgb" and "flow"), and "label": int64 [N]; or, of clips with
several actions, "targets": float32 [N, classes, T]."""


@dataclass(frozen=True)
class StepMetrics:
    """What one optimiser step was like in this process."""

    step: int
    """Counted from 1: steps done."""
    loss: float
    top1: float
    learning_rate: float
    gradient_norm: float
    clips: int
    waiting_seconds: float
    """Time spent waiting for the loader."""
    computing_seconds: float


def train_steps(
    state: TrainingState,
    batches: Iterable[Batch],
    *,
    accumulation: int = 1,
    clip_norm: float | None = None,
) -> Iterator[StepMetrics]:
    """Takes optimiser steps until the recipe's last one or the end of `batches`, `accumulation` batches each.

    Yields after every step, when `state` may be saved or the model validated. Batches left over at the end that are
    too few for a step are not used. `clip_norm` is the largest norm of the whole gradient.

    Raises:
        Diverged: a loss or gradient is not finite; in all processes of a group at the same step, before the weights
            are touched.
    """
    device = next(state.model.parameters()).device
    source = iter(batches)
    while not state.finished:
        rate = state.schedule.rate(state.step)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        state.network.train()
        state.optimiser.zero_grad()
        losses, right, clips, waited = [], [], 0, 0.0
        begun = time.perf_counter()
        for micro_step in range(accumulation):
            asked = time.perf_counter()
            batch = next(source, None)
            waited += time.perf_counter() - asked
            if batch is None:
                return
            # Gradients travel between processes once a step, with the last part of it.
            last = micro_step == accumulation - 1
            no_sync = getattr(state.network, "no_sync", nullcontext)
            with nullcontext() if last else no_sync():
                logits, label = forward(state, batch, device)
                loss = action_loss(logits, label) if label.ndim == 3 else classification_loss(logits, label)
                torch.autograd.backward(loss / accumulation)
            losses.append(loss.detach())
            right.append(hits(logits.detach(), label))
            clips += len(label)
        norm = clip_gradient(state.model, clip_norm)
        mean_loss = float(torch.stack(losses).mean())
        if not math.isfinite(norm) or not math.isfinite(mean_loss):
            what = f"the gradient's norm is {norm}, the loss {mean_loss}"
            raise Diverged(state.step + 1, what, state.last_checkpoint)
        state.optimiser.step()
        state.step += 1
        yield StepMetrics(
            step=state.step,
            loss=mean_loss,
            top1=float(torch.stack(right).sum()) / clips,
            learning_rate=rate,
            gradient_norm=norm,
            clips=clips,
            waiting_seconds=waited,
            computing_seconds=time.perf_counter() - begun - waited,
        )


def forward(state: TrainingState, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits, in float32, and labels (or targets) of a batch, on `device`."""
    inputs = model_inputs(state.model, batch)
    placed = [state.precision.place(x.to(device, non_blocking=True)) for x in inputs]
    truth, asked = "label", {}
    if "targets" in batch:
        truth, asked = "targets", {"every_frame": True}
    elif getattr(state.model, "loss_at_every_step", False):
        asked = {"every_step": True}
    with state.precision.autocast(device):
        logits = state.network(*placed, **asked)
    return logits.float(), batch[truth].to(device, non_blocking=True)


def model_inputs(model: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    """The tensors of `batch` that `model` is called with, in order."""
    return tuple(batch[name] for name in model.inputs)  # type: ignore[union-attr]


def classification_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of logits [N, classes], or its mean over the steps of [N, classes, T]."""
    if logits.ndim == 3:
        label = label[:, None].expand(-1, logits.shape[2])
    return F.cross_entropy(logits, label)


def hits(logits: Tensor, label: Tensor) -> Tensor:
    """Counts the clips that are right: their highest class is the label, or one of their actions."""
    if label.ndim == 3:
        highest = logits.amax(dim=2).argmax(dim=1)
        return label.amax(dim=2).gather(1, highest[:, None]).sum()
    return (last_step(logits).argmax(dim=1) == label).sum()


def last_step(logits: Tensor) -> Tensor:
    """[N, classes] of [N, classes] or of [N, classes, T]."""
    return logits[..., -1] if logits.ndim == 3 else logits


def clip_gradient(model: nn.Module, clip_norm: float | None) -> float:
    """Norm of the whole gradient before it is clipped to `clip_norm`."""
    trainable = [p for p in model.parameters() if p.grad is not None]
    return float(nn.utils.clip_grad_norm_(trainable, math.inf if clip_norm is None else clip_norm))
