"""The architectures by name."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from kinetics_pipeline.models.c3d import C3D
from kinetics_pipeline.models.convnet_lstm import ConvNetLSTM
from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.fused_two_stream import FusedTwoStream
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.inception2d import Inception2D
from kinetics_pipeline.models.layers.batch_norm import EPSILON, set_epsilon
from kinetics_pipeline.models.two_stream import TwoStream

MODELS: dict[str, type[nn.Module]] = {
    "i3d": I3D,
    "c3d": C3D,
    "convnet_lstm": ConvNetLSTM,
    "two_stream": TwoStream,
    "fused_two_stream": FusedTwoStream,
    "inception2d": Inception2D,
}


def build_model(
    name: str, num_classes: int = 400, in_channels: int = 3, *, bn_eps: float = EPSILON, **options: Any
) -> nn.Module:
    """A freshly initialised network.

    Called on a clip [N, C, T, H, W] in [-1, 1] it returns logits [N, num_classes]; "two_stream" and
    "fused_two_stream" are called on RGB and flow (`model.inputs` names what a model takes). `bn_eps` is what batch
    normalisation adds to the variance: 0.001 in the released networks; weights that were trained with another number
    need that one. `options` are those of the architecture's own constructor (dropout, bn_momentum, ...).

    Raises:
        InputError: an unknown name or option, or a number below 1.
    """
    if name not in MODELS:
        raise InputError(f"no model {name!r}; allowed: {', '.join(MODELS)}")
    for what, number in (("num_classes", num_classes), ("in_channels", in_channels)):
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{what} is {number!r}; allowed: whole numbers from 1")
    kind = MODELS[name]
    allowed = [p for p in inspect.signature(kind).parameters if p not in ("num_classes", "in_channels")]
    if unknown := [option for option in options if option not in allowed]:
        raise InputError(f"{name} has no option {unknown[0]!r}; allowed: {', '.join([*allowed, 'bn_eps'])}")
    model = kind(num_classes=num_classes, in_channels=in_channels, **options)
    if bn_eps != EPSILON:
        set_epsilon(model, bn_eps)
    return model


def build_empty(name: str, **config: Any) -> nn.Module:
    """A network as `build_model` makes it, on the CPU, whose weights are not set: all of them have to be loaded.

    Initial values that nobody uses take most of a network's building.
    """
    with torch.device("meta"):
        model = build_model(name, **config)
    model.to_empty(device="cpu")
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("num_batches_tracked"):  # which older files leave out
            buffer.zero_()
    return model


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes when nothing is frozen; the fixed scales of batch normalisation are none."""
    return sum(parameter.numel() for parameter in model.parameters())
