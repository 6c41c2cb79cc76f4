"""Networks of which only the last layer learns: the transfer protocol "Fixed" ("Quo Vadis", section 4.2)."""

from __future__ import annotations

from torch import nn

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.layers.batch_norm import freeze_batch_norm
from kinetics_pipeline.models.weights.checkpoints import HEADS


def freeze_features(model: nn.Module) -> None:
    """Everything before the last layer stays as it is, batch normalisation's statistics too.

    Raises InputError for a model whose last layer has no name that is known.
    """
    learning = [name for name, _ in model.named_parameters() if name.startswith(HEADS)]
    if not learning:
        raise InputError("this model has no last layer that could be trained alone")
    freeze_batch_norm(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
