"""Where a run's weights come from at its first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from kinetics_pipeline.errors import UserError
from models import InputError, inflate, load_checkpoint, read_checkpoint
from models.weights.torch_files import read_torch_file
from workflows.train.run_folder import RunFolder
from workflows.train.settings import Settings

_GOOGLENET = "conv1.conv.weight"
_INCEPTION = "Conv2d_1a_7x7.conv2d.weight"


def initial_weights(model: nn.Module, init: Path | None, settings: Settings) -> str | None:
    """Fills `model` from `--init` and says in a line what that was; None without it.

    A checkpoint or a run of ours, a public port's file, DeepMind's files, or 2D weights, which are inflated. The last
    layer is taken too where the classes are the same. Raises UserError or InputError for what does not fit.
    """
    if init is None:
        return None
    file = _file(init)
    if file.suffix in (".pt", ".pth") and (weights := _two_dimensional(file)) is not None:
        inflate(model, weights)
        return f"weights inflated from {file}; the last layer is new"
    if _same_classes(file, settings):
        try:
            return f"weights from {file} ({load_checkpoint(model, file)})"
        except InputError:  # whose last layer may be all that does not fit
            pass
    return f"weights from {file} ({load_checkpoint(model, file, head=False)}), without their last layer"


def _file(init: Path) -> Path:
    if not init.is_dir():
        return init
    run = RunFolder(init)
    for file in (run.best, run.last):
        if file.is_file():
            return file
    raise UserError(f"--init is {init}, a folder without checkpoints; allowed: a run folder or a file of weights")


def _two_dimensional(file: Path) -> dict[str, Any] | None:
    document = read_torch_file(file)
    return document if isinstance(document, dict) and (_GOOGLENET in document or _INCEPTION in document) else None


def _same_classes(file: Path, settings: Settings) -> bool:
    """Whether the last layer means the same classes. Of a file that does not say, its size decides."""
    try:
        said = read_checkpoint(file).metadata.get("classes")
    except InputError:
        return True
    return said is None or list(said) == list(settings.classes)
