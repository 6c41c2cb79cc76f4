"""The architectures by name."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from kinetics_pipeline.models.c3d import C3D
from kinetics_pipeline.models.convnet_lstm import ConvNetLSTM
from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.fused_two_stream import FusedTwoStream
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.inception2d import Inception2D
from kinetics_pipeline.models.two_stream import TwoStream

MODELS: dict[str, type[nn.Module]] = {
    "i3d": I3D,
    "c3d": C3D,
    "convnet_lstm": ConvNetLSTM,
    "two_stream": TwoStream,
    "fused_two_stream": FusedTwoStream,
    "inception2d": Inception2D,
}


def build_model(name: str, num_classes: int = 400, in_channels: int = 3, **options: Any) -> nn.Module:
    """A freshly initialised network.

    Called on a clip [N, C, T, H, W] in [-1, 1] it returns logits [N, num_classes]; "two_stream" and
    "fused_two_stream" are called on RGB and flow (`model.inputs` names what a model takes). `options` are those of the
    architecture's own constructor (dropout, bn_momentum, ...).

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
        raise InputError(f"{name} has no option {unknown[0]!r}; allowed: {', '.join(allowed)}")
    return kind(num_classes=num_classes, in_channels=in_channels, **options)


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes when nothing is frozen; the fixed scales of batch normalisation are none."""
    return sum(parameter.numel() for parameter in model.parameters())
