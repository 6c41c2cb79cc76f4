"""The video architectures, their weights, and their training and evaluation loops. Needs nothing else of this
project."""

from __future__ import annotations

from kinetics_pipeline.models.errors import Diverged, InputError
from kinetics_pipeline.models.registry import MODELS, build_model, count_parameters
from kinetics_pipeline.models.weights.checkpoints import Checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
from kinetics_pipeline.models.weights.inflation import inflate

__all__ = [
    "MODELS",
    "Checkpoint",
    "Diverged",
    "InputError",
    "build_model",
    "count_parameters",
    "inflate",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
]
