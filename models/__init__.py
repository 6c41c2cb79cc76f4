"""The networks, their weights on disk, and the loops that train and score them. Imports nothing else of this project.

In: clips [N, C, T, H, W] in [-1, 1]. Out: logits [N, classes]. Begin with `build_model` and `load_checkpoint`; the
architecture of I3D is `i3d` and the table in `layers.inception`. `weights` reads and writes files, `training` and
`scoring` are plain functions over an iterable of batches.
"""

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
