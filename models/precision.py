"""Chooses how a network is computed: in 32-bit floats, or in bfloat16 where that is faster on this device and right.

bf16 on a processor without it is some 30 times slower than fp32, and some versions of cuDNN have computed bf16
conv3d silently wrong. So one step of each is timed, and their results are compared.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Choice = Literal["auto", "fp32", "bf16"]

AGREEMENT = 0.1
"""Largest distance of bf16's logits and gradient from fp32's, relative to the latter's norm. bf16 keeps 8 bits: sound
kernels stay near .01 and .03 through I3D's depth, measured; a wrong one is off by about 1."""

TRIAL_SIDE = 112
"""A CPU is timed on one clip of at most this size, so that the slower precision does not take long either."""

GIVE_UP_FACTOR = 3.0
"""No second step is timed in bf16 when its first one, set-up included, takes this many times fp32's."""


def device_here() -> torch.device:
    """The GPU of this process, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Precision:
    """bf16: convolutions in bfloat16 under autocast. channels_last: memory in the order N, (T,) H, W, C."""

    bf16: bool
    channels_last: bool
    reason: str

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def place(self, tensor: Tensor) -> Tensor:
        """`tensor` in the memory order of this choice."""
        if self.channels_last and tensor.ndim in (4, 5):
            order = torch.channels_last_3d if tensor.ndim == 5 else torch.channels_last
            return tensor.contiguous(memory_format=order)
        return tensor

    def prepare(self, model: nn.Module) -> nn.Module:
        """`model` with its weights in the memory order of this choice, changed in place."""
        for parameter in model.parameters():
            parameter.data = self.place(parameter.data)
        return model

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


FP32 = Precision(bf16=False, channels_last=False, reason="asked for")
BF16 = Precision(bf16=True, channels_last=True, reason="asked for")


@dataclass(frozen=True)
class Trial:
    """Seconds of one step in the mode to be used; logits and, for training, the gradient in evaluation mode.

    In training mode batch normalisation makes the gradient of fresh weights chaotic: even two orders of summation in
    fp32 differ by percents, and nothing could be compared.
    """

    seconds: float
    logits: Tensor
    gradient: Tensor


def choose_precision(
    model: nn.Module, inputs: Sequence[Tensor], *, training: bool, choice: Choice = "auto"
) -> Precision:
    """The faster of fp32 and bf16 for `model` on the device of `inputs`, a batch like those to come.

    The model is left as it was. Processes that train together must share one choice: let one choose.
    """
    if choice == "fp32":
        return FP32
    if choice == "bf16":
        return BF16
    device = inputs[0].device
    if device.type == "cpu":
        inputs = [x[:1, ..., :TRIAL_SIDE, :TRIAL_SIDE] for x in inputs]
    elif device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision(False, False, "fp32: this GPU has no bf16")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        slow = _try(model, inputs, FP32, training)
        fast = _try(model, inputs, BF16, training, give_up_after=GIVE_UP_FACTOR * slow.seconds)
    return judge(slow, fast)


def judge(fp32: Trial, bf16: Trial) -> Precision:
    """The choice between two trials of the same step."""
    times = f"one step takes {bf16.seconds:.3g} s in bf16, {fp32.seconds:.3g} s in fp32"
    if bf16.seconds >= fp32.seconds:
        return Precision(False, False, f"fp32: {times}")
    logits, gradient = _distance(bf16.logits, fp32.logits), _distance(bf16.gradient, fp32.gradient)
    far = f"{logits:.2g} of their norm, the gradient by {gradient:.2g}"
    if not (logits <= AGREEMENT and gradient <= AGREEMENT):  # not a number is not agreement either
        return Precision(False, False, f"fp32: on this device bf16's logits are off by {far}")
    return Precision(True, True, f"bf16: {times}; logits differ by {far}")


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def _try(
    model: nn.Module,
    inputs: Sequence[Tensor],
    precision: Precision,
    training: bool,
    give_up_after: float = float("inf"),
) -> Trial:
    trial = precision.prepare(copy.deepcopy(model)).eval()
    placed = [precision.place(x) for x in inputs]
    # First, before steps in training mode change the running statistics; and it pays for the set-up.
    seconds, logits = _step(trial, placed, precision, training)
    gradients = [p.grad.float().cpu().flatten() for p in trial.parameters() if p.grad is not None]
    if seconds <= give_up_after:
        trial.train(training)
        seconds = min(_step(trial, placed, precision, training)[0] for _ in range(2))
    return Trial(seconds, logits, torch.cat(gradients) if gradients else torch.zeros(1))


def _step(trial: nn.Module, placed: Sequence[Tensor], precision: Precision, training: bool) -> tuple[float, Tensor]:
    """Seconds and logits of one forward pass and, for training, the backward pass that leaves a gradient."""
    device = placed[0].device
    trial.zero_grad(set_to_none=True)
    _wait(device)
    start = time.perf_counter()
    with torch.set_grad_enabled(training), precision.autocast(device):
        logits = trial(*placed).float()
    if training:
        torch.autograd.backward(F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=device)))
    _wait(device)
    return time.perf_counter() - start, logits.detach().cpu()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
