"""Where a run's weights come from at its first step."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models import InputError, inflate, load_checkpoint, read_checkpoint
from kinetics_pipeline.models.weights.checkpoints import read_weights
from kinetics_pipeline.models.weights.inflation import two_dimensional
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from kinetics_pipeline.workflows.training.settings import Settings


def initial_weights(model: nn.Module, init: Path | None, settings: Settings) -> str | None:
    """Fills `model` from `--init` and says in a line what that was; None without it.

    A checkpoint or a run of ours, a public port's file, DeepMind's files, or 2D weights, which are inflated. The last
    layer is taken too where the classes are the same. Raises UserError or InputError for what does not fit.
    """
    if init is None:
        return None
    file = _file(init)
    if (weights := _two_dimensional(file)) is not None and settings.config.model != "inception2d":
        inflate(model, weights)
        what = "inflated from" if settings.config.model == "i3d" else "of Inception-V1 from"
        return f"weights {what} {file}; the last layer is new"
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


def _two_dimensional(file: Path) -> dict[str, Tensor] | None:
    return two_dimensional(read_weights(file)[1])


def _same_classes(file: Path, settings: Settings) -> bool:
    """Whether the last layer means the same classes. Of a file that does not say, its size decides."""
    try:
        said = read_checkpoint(file).metadata.get("classes")
    except InputError:
        return True
    return said is None or list(said) == list(settings.classes)
