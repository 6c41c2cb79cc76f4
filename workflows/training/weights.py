"""Fills a network with the weights that `--init` names, and says what they were."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models import InputError, inflate, read_checkpoint
from kinetics_pipeline.models.layers.batch_norm import set_epsilon
from kinetics_pipeline.models.weights.checkpoints import Loaded, load_weights, read_weights
from kinetics_pipeline.models.weights.folders import is_weights_folder
from kinetics_pipeline.models.weights.inflation import two_dimensional
from kinetics_pipeline.models.weights.recognition import file_kind
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.training.hub import local_weights
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from kinetics_pipeline.workflows.training.settings import Settings

NEW = "its last layer is new"


def initial_weights(model: nn.Module, init: str | Path | None, settings: Settings) -> list[str]:
    """Fills `model` from `--init` and says in a few lines what that was; no line without it.

    A checkpoint or a run of ours, a folder of safetensors, here or on the Hugging Face Hub, a public port's file,
    DeepMind's files, or 2D weights, which are inflated. The last
    layer is taken too where the classes are the same, unless `--new-head` is given. Batch normalisation's eps is then
    that of `--bn-eps`, else of a checkpoint of ours, else 0.001. Raises UserError or InputError for what does not fit.
    """
    if init is None:
        return []
    place, said = local_weights(str(init))
    return said + _fill(model, _file(place), settings)


def _fill(model: nn.Module, file: Path, settings: Settings) -> list[str]:
    config = settings.config
    weights = read_weights(file)
    flat = None if config.model == "inception2d" else two_dimensional(weights.tensors)
    if flat is not None:
        inflate(model, flat)
        if (epsilon := config.bn_eps or weights.epsilon) is not None:
            set_epsilon(model, epsilon)
        what = "inflated from" if config.model == "i3d" else "of Inception-V1 from"
        return [f"weights {what} {file}; {NEW}", *weights.notes]
    if config.new_head:
        loaded = load_weights(model, file, head=False, bn_eps=config.bn_eps)
        return [f"weights from {file} ({loaded}); {NEW} (--new-head)", *loaded.notes]
    return _with_its_head_where_that_fits(model, file, settings)


def _with_its_head_where_that_fits(model: nn.Module, file: Path, settings: Settings) -> list[str]:
    epsilon, classes = settings.config.bn_eps, _classes(file)
    if classes is not None and classes != list(settings.classes):
        loaded = load_weights(model, file, head=False, bn_eps=epsilon)
        return [f"weights from {file} ({loaded}), without their last layer: its classes are others; {NEW}"]
    try:
        loaded = load_weights(model, file, bn_eps=epsilon)
    except InputError:  # whose last layer may be all that does not fit
        loaded = load_weights(model, file, head=False, bn_eps=epsilon)
        return [f"weights from {file} ({loaded}), without their last layer, which does not fit; {NEW}", *loaded.notes]
    return [f"weights from {file} ({loaded}), with their last layer", *_order_unknown(loaded, classes, settings)]


def _order_unknown(loaded: Loaded, classes: list[str] | None, settings: Settings) -> list[str]:
    if classes is not None:
        return list(loaded.notes)
    line = (
        f"the last layer has {counted(len(settings.classes), 'class')}, as many as are trained here, but the file does "
        "not say their order; unless it is that of this dataset, give --new-head"
    )
    return [line, *loaded.notes]


def _file(init: Path) -> Path:
    if not init.is_dir() or is_weights_folder(init):
        return init
    run = RunFolder(init)
    for file in (run.best, run.last):
        if file.is_file():
            return file
    raise UserError(
        f"--init is {init}, a folder without checkpoints ({file_kind(init)}); allowed: a run folder, a file of weights"
    )


def _classes(file: Path) -> list[str] | None:
    """The classes of the last layer in order; None where the file does not say."""
    try:
        classes = read_checkpoint(file).metadata.get("classes")
    except InputError:
        return None
    return None if classes is None else list(classes)
