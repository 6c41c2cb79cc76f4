"""Weights of any origin as a checkpoint of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kinetics_pipeline.models.c3d import CHANNELS as C3D_CHANNELS
from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.registry import build_empty
from kinetics_pipeline.models.weights.checkpoints import (
    Checkpoint,
    Loaded,
    assign,
    epsilon_note,
    read_checkpoint,
    read_weights,
)
from kinetics_pipeline.models.weights.recognition import tensors_kind


@dataclass(frozen=True)
class Ends:
    """Names of the first and the last layer's weights, which tell channels and classes."""

    first: str
    last: str


ENDS = {
    "i3d": Ends("Conv3d_1a_7x7.conv3d.weight", "logits.conv3d.weight"),
    "c3d": Ends("convolutions.0.0.conv3d.weight", "logits.weight"),
    "convnet_lstm": Ends("trunk.Conv2d_1a_7x7.conv2d.weight", "logits.weight"),
    "two_stream": Ends("rgb.Conv2d_1a_7x7.conv2d.weight", "rgb_logits.weight"),
    "fused_two_stream": Ends("rgb.Conv2d_1a_7x7.conv2d.weight", "logits.weight"),
    "inception2d": Ends("trunk.Conv2d_1a_7x7.conv2d.weight", "logits.weight"),
}


def as_checkpoint(
    path: Path, metadata: dict[str, Any] | None = None, bn_eps: float | None = None
) -> tuple[Loaded, Checkpoint]:
    """What wrote the file at `path`, and its weights as a checkpoint without training state.

    Of foreign weights, the network is recognised by their names, and its channels and classes are read off its first
    and last layer. `metadata` is added to what one of our own files says, and is all that a foreign one does. `bn_eps`
    is batch normalisation's eps in the checkpoint, for weights that were used with another than 0.001.

    Raises:
        InputError: the file is not a checkpoint, is damaged, or is of no network here.
    """
    weights = read_weights(path)
    epsilon: dict[str, Any] = {} if bn_eps is None else {"bn_eps": bn_eps}
    loaded = Loaded(weights.source, [*weights.notes, *epsilon_note(weights, bn_eps)])
    if weights.source == "own":
        own = read_checkpoint(path)
        own = Checkpoint(own.model, own.config | epsilon, own.state_dict, None, own.metadata | (metadata or {}))
        own.build()  # all names and shapes
        return loaded, own
    name = _network(weights.tensors, path)
    config = _config(name, weights.tensors, path)
    model = build_empty(name, **config, **epsilon)
    assign(model, weights.tensors, str(path))
    return loaded, Checkpoint(name, config | epsilon, model.state_dict(), None, metadata or {})


def _network(tensors: Mapping[str, Tensor], path: Path) -> str:
    kind = tensors_kind({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if kind is None:
        raise InputError(f"{path} is not I3D's, nor of another network here: its first tensor is {next(iter(tensors))}")
    if kind.model is None:
        raise InputError(f"{path} is of no network here: {kind.sentence(str(path))}")
    return kind.model


def _config(name: str, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    ends = ENDS[name]
    for layer in (ends.first, ends.last):
        if layer not in tensors or tensors[layer].ndim < 2:
            raise InputError(f"{path} is not a whole {name}: it lacks {layer}")
    config = {"num_classes": tensors[ends.last].shape[0], "in_channels": tensors[ends.first].shape[1]}
    if name == "c3d" and "fc6.weight" in tensors:
        places = tensors["fc6.weight"].shape[1] // C3D_CHANNELS[-1][-1]
        config["crop_size"] = math.isqrt(places) * 2 ** len(C3D_CHANNELS)
    return config
