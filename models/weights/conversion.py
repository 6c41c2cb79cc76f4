"""Weights of any origin as a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.registry import build_model
from kinetics_pipeline.models.weights.checkpoints import Checkpoint, Source, assign, read_checkpoint, read_weights

_FIRST, _LAST = "Conv3d_1a_7x7.conv3d.weight", "logits.conv3d.weight"


def as_checkpoint(path: Path, metadata: dict[str, Any] | None = None) -> tuple[Source, Checkpoint]:
    """What wrote the file at `path`, and its weights as a checkpoint without training state.

    A foreign file is I3D's; its channels and classes are read off its first and last layer. `metadata` is added to
    what one of our own files says, and is all that a foreign one does.

    Raises:
        InputError: the file is no checkpoint, is damaged, or is no I3D's.
    """
    source, weights = read_weights(path)
    if source == "own":
        own = read_checkpoint(path)
        own.build()  # all names and shapes
        return source, Checkpoint(own.model, own.config, own.state_dict, None, own.metadata | (metadata or {}))
    for name in (_FIRST, _LAST):
        if name not in weights or weights[name].ndim != 5:
            raise InputError(f"{path} is not I3D's: it lacks {name}")
    config = {"num_classes": weights[_LAST].shape[0], "in_channels": weights[_FIRST].shape[1]}
    model = build_model("i3d", **config)
    assign(model, weights, str(path))
    return source, Checkpoint("i3d", config, model.state_dict(), None, metadata or {})
