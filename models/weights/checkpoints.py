"""Checkpoints: our own, written whole or not at all; and whatever weights a user has, by one call."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.layers.batch_norm import EPSILON, set_epsilon
from kinetics_pipeline.models.registry import build_empty
from kinetics_pipeline.models.weights.folders import is_weights_folder, read_folder, write_folder
from kinetics_pipeline.models.weights.foreign import UNKNOWN_EPSILON, Source, from_tensorflow, naming_of
from kinetics_pipeline.models.weights.parts import INDEX, read_parts
from kinetics_pipeline.models.weights.recognition import file_kind, model_kind, tensors_kind
from kinetics_pipeline.models.weights.safetensors_files import (
    SUFFIX,
    is_safetensors,
    read_safetensors,
    write_safetensors,
)
from kinetics_pipeline.models.weights.tensorflow_checkpoint import checkpoint_prefix
from kinetics_pipeline.models.weights.torch_files import read_torch_file, write_torch_file
from kinetics_pipeline.models.weights.wrappings import state_dicts

FORMAT = "kinetics-pipeline checkpoint 1"
_FOLDER = ("format", "model", "config")
"""What `config.json` of a folder says beside the metadata."""

HEADS = ("logits.", "rgb_logits.", "flow_logits.")
"""The names of last layers begin so."""
_OPTIONAL = (".num_batches_tracked", ".bn.weight")
"""Nothing depends on the first; the second is the scale that TensorFlow's files do not have because it is 1."""
_FIRST = ("Conv3d_1a_7x7.conv3d.weight", "Conv2d_1a_7x7.conv2d.weight", "convolutions.0.0.conv3d.weight")
"""The names of first layers end so."""


@dataclass(frozen=True)
class Checkpoint:
    """What our own file holds."""

    model: str
    """Name for `build_model`."""
    config: dict[str, Any]
    """Keyword arguments for `build_model`: num_classes, in_channels, options."""
    state_dict: dict[str, Tensor]
    training: dict[str, Any] | None = None
    """`training.state.state_to_save`, and what the caller adds, such as its loader's state; None: weights alone."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Plain data that says what it was made from: stream, classes, dataset recipe and fingerprint, metrics."""

    def build(self) -> nn.Module:
        """The network with these weights. Raises InputError when they do not make one."""
        try:
            model = build_empty(self.model, **self.config)
        except TypeError as error:
            raise InputError(f"the checkpoint cannot be built: {error}") from error
        assign(model, self.state_dict, "the checkpoint")
        return model


@dataclass(frozen=True)
class Weights:
    """Tensors under the names of the networks here, and what is known of them."""

    source: Source
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    """Lines on which part of the file they are, and what was left out."""
    epsilon: float | None = None
    """Batch normalisation's eps, where the file says it: our own files alone do."""


class Loaded(str):
    """What wrote a file of weights (a `Source`), with `notes`: lines on what was chosen, left out or assumed.

    `several`: the file holds more than one set of weights, and the first note says which was taken.
    """

    notes: tuple[str, ...]
    several: bool

    def __new__(cls, source: Source, notes: Sequence[str] = (), *, several: bool = False) -> Loaded:
        self = super().__new__(cls, source)
        self.notes, self.several = tuple(notes), several
        return self


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Writes `checkpoint` atomically and durably; tensors may be on any device. A name that ends in `.safetensors`
    makes it one, a name without a suffix a folder (see `folders`); neither may hold training state."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": checkpoint.model,
        "config": checkpoint.config,
        "state_dict": dict(checkpoint.state_dict),
        "training": checkpoint.training,
        "metadata": checkpoint.metadata,
    }
    suffix = Path(path).suffix
    if suffix in (SUFFIX, ""):
        if checkpoint.training is not None:
            kind = f"a {suffix} file" if suffix else "a folder"
            raise InputError(f"{path}: {kind} holds weights alone, no training state; give a .pt file")
        del document["state_dict"]
        if suffix:
            write_safetensors(checkpoint.state_dict, document, Path(path))
        else:
            said = {name: document[name] for name in _FOLDER}
            write_folder(checkpoint.state_dict, {**checkpoint.metadata, **said}, Path(path))
        return
    write_torch_file(document, Path(path))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Our own checkpoint. Raises InputError for anything else."""
    document = _read_document(Path(path))
    if not _is_own(document):
        raise InputError(
            f"{path} is not one of our checkpoints; `tools convert-checkpoint` makes one of it (in Python, "
            "`load_checkpoint` reads it into a model)"
        )
    kinds = {"model": str, "config": dict, "state_dict": dict, "training": (dict, type(None)), "metadata": dict}
    for name, kind in kinds.items():
        if not isinstance(document.get(name, ...), kind):  # type: ignore[arg-type]
            raise InputError(f"checkpoint {path} is damaged: its {name!r} is missing or of the wrong kind")
    return Checkpoint(**{name: document[name] for name in kinds} | {"state_dict": _own_tensors(document, Path(path))})


def load_checkpoint(model: nn.Module, path: str | Path, *, head: bool = True, bn_eps: float | None = None) -> Loaded:
    """Puts the weights at `path` into `model`, whatever wrote them, and returns what that was.

    Reads our own checkpoints; state dicts, of torch or safetensors, in the names of piergiaj/pytorch-i3d ("port"),
    hassony2/kinetics_i3d_pytorch, mmaction 0.x and, for `inception2d`, torchvision's GoogLeNet; and DeepMind's
    TensorFlow checkpoints, given the prefix, the index or the data file; and folders of `model.safetensors`. The state
    dict may lie within other dicts, and its names behind prefixes; where several fit, a warning says which was taken.

    Args:
        head: False leaves the last layer of `model` as it is, whatever its number of classes.
        bn_eps: batch normalisation's eps from now on. Default: as a file of ours says, else as the model has it
            (0.001); no other file says what it was used with, which the result's `notes` say.

    Raises:
        InputError: the file is none of these, is damaged, or does not fit the model; `model` is then unchanged.
    """
    loaded = load_weights(model, Path(path), head=head, bn_eps=bn_eps)
    if loaded.several:
        warnings.warn(f"{path}: {loaded.notes[0]}", stacklevel=2)
    return loaded


def load_weights(model: nn.Module, path: Path, *, head: bool = True, bn_eps: float | None = None) -> Loaded:
    """`load_checkpoint` without its warning, for those who show the notes."""
    candidates = read_candidates(path)
    weights = _assign_first(model, candidates, str(path), head)
    epsilon = bn_eps if bn_eps is not None else weights.epsilon
    if epsilon is not None:
        set_epsilon(model, epsilon)
    notes = [*weights.notes, *epsilon_note(weights, bn_eps)]
    return Loaded(weights.source, notes, several=len(candidates) > 1 and bool(weights.notes))


def epsilon_note(weights: Weights, bn_eps: float | None) -> list[str]:
    """A line on the eps of batch normalisation where nothing says what the weights were used with."""
    if weights.source not in UNKNOWN_EPSILON or bn_eps is not None:
        return []
    return [
        f"the file does not say batch normalisation's eps: {EPSILON:g} is assumed, as in DeepMind's networks; the "
        "definitions of video_features, VideoGPT and mmaction say 1e-05 (--bn-eps)"
    ]


def _assign_first(model: nn.Module, candidates: Sequence[Weights], path: str, head: bool) -> Weights:
    """Assigns the first of `candidates` that fits, which it returns. Raises the error of the first where none does."""
    errors = []
    for weights in candidates:
        try:
            assign(model, weights.tensors, path, head=head)
        except InputError as error:
            errors.append(error)
        else:
            return weights
    raise errors[0]


def assign(model: nn.Module, weights: Mapping[str, Tensor], path: str, *, head: bool = True) -> None:
    """Fills `model` with all of `weights`. Raises InputError, before anything is changed, that names the first tensor
    that does not fit, or the network that these weights are of."""
    own, known = model.state_dict(), weights
    if not head:
        own = {name: tensor for name, tensor in own.items() if not name.startswith(HEADS)}
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(HEADS)}
    if (difference := _name_difference(model, own, weights, known, path)) is not None:
        raise InputError(f"{path} does not fit: {difference}")
    for name, tensor in weights.items():
        if name in own and tensor.shape != own[name].shape:
            raise InputError(f"{path} does not fit: {_shape_difference(name, tensor, own[name])}")
        if name in own:
            _require_values(name, tensor, own[name], path)
    with torch.no_grad():
        for name, target in own.items():
            if name in weights:
                target.copy_(weights[name])
            elif name.endswith(".bn.weight"):
                target.fill_(1.0)


def _require_values(name: str, tensor: Tensor, own: Tensor, path: str) -> None:
    """Raises InputError for values that are not those of the network, as they are: quantised ones, and NaN."""
    if own.is_floating_point() and (not tensor.is_floating_point() or tensor.itemsize < 2):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"{path} does not fit: {name} holds {kind}, as of quantised weights, whose scales are not read; give the "
            "weights in float32, float16 or bfloat16"
        )
    if tensor.is_meta or tensor.is_sparse:
        raise InputError(f"{path} does not fit: {name} is {'without values' if tensor.is_meta else 'sparse'}")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{path} is damaged: {name} has values that are not finite")


def _name_difference(
    model: nn.Module,
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    known: Mapping[str, Tensor],
    path: str,
) -> str | None:
    """How the names of `weights` differ from a model's `own`; None when all fit. `known`: with the last layer too."""
    missing = [name for name in own if name not in weights and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in weights if name not in own and not name.endswith(_OPTIONAL)]
    if missing or unexpected:
        kind = tensors_kind({name: tuple(tensor.shape) for name, tensor in known.items()})
        if kind is not None and kind is not model_kind(model):
            return kind.sentence(path)
    if unexpected and not any(name in own for name in weights):
        return f"it is of a network unknown here, whose first tensor is {unexpected[0]}"
    for what, names in (("lacks", missing), ("has what the model has not:", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"it {what} {names[0]}{more}"
    return None


def _shape_difference(name: str, found: Tensor, own: Tensor) -> str:
    if name.startswith(HEADS):
        return (
            f"it has {found.shape[0]} classes, the model {own.shape[0]} (or load it without its last layer: --new-head)"
        )
    others_agree = found.shape[:1] + found.shape[2:] == own.shape[:1] + own.shape[2:]
    if name.endswith(_FIRST) and found.ndim == own.ndim and others_agree:
        stream = {3: "; it is RGB's: --stream rgb", 2: "; it is flow's: --stream flow"}.get(found.shape[1], "")
        return f"channels: it takes {found.shape[1]}, the model {own.shape[1]} (RGB has 3, flow 2){stream}"
    return f"{name} has shape {tuple(found.shape)}, the model {tuple(own.shape)}"


def read_weights(path: Path) -> Weights:
    """The weights at `path` under our names: of several in one file, the preferred ones. Raises InputError for no
    checkpoint."""
    return read_candidates(path)[0]


def read_candidates(path: Path) -> list[Weights]:
    """All weights in a file, under our names, by preference (see `wrappings.state_dicts`); at least one.

    Raises InputError for a file that is not a checkpoint.
    """
    _require_there(path)
    if (prefix := checkpoint_prefix(path)) is not None:
        return [Weights("tensorflow", from_tensorflow(prefix))]
    document = _read_document(path)
    if _is_own(document):
        epsilon = (
            document.get("config", {}).get("bn_eps", EPSILON) if isinstance(document.get("config"), dict) else None
        )
        return [Weights("own", _own_tensors(document, path), (), epsilon)]
    found = state_dicts(document)
    if not found:
        raise InputError(f"{path} is not a checkpoint: {_without_tensors(document)}")
    candidates = []
    for one in found:
        known = naming_of(one.tensors)
        if known is None:
            candidates.append(Weights("port", one.tensors, one.notes))
        else:
            candidates.append(Weights(known[0].source, known[0].rename(one.tensors), one.notes))
    return candidates


def _require_there(path: Path) -> None:
    """Raises InputError for an address of the web, and for what cannot be the name of a file."""
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read checkpoint {path}: {getattr(error, 'strerror', None) or error}") from error
    if not there and re.search(r"(^|/)(https?|s3|gs|hf):/", str(path)):
        raise InputError(f"cannot read checkpoint {path}: it is an address; download the file, and give its path")


def _read_document(path: Path) -> Any:
    """What a file of torch's or of safetensors' holds, whatever its suffix."""
    _require_there(path)
    if is_weights_folder(path):
        weights, said = read_folder(path)
        if not _is_own(said):
            return weights
        metadata = {name: value for name, value in said.items() if name not in _FOLDER}
        own = {name: said.get(name) for name in _FOLDER}
        return own | {"training": None, "metadata": metadata, "state_dict": weights}
    if path.is_dir():
        raise InputError(f"cannot read checkpoint {path}: {file_kind(path) or 'it is a folder'}")
    if path.name.endswith(INDEX):
        return read_parts(path)
    kind = file_kind(path)
    if kind is None and (is_safetensors(path) or (path.suffix == SUFFIX and not path.exists())):
        weights, document = read_safetensors(path)
        return weights if document is None else document | {"state_dict": weights}
    if kind is not None:
        raise InputError(f"{path} is not a checkpoint: {kind}")
    return read_torch_file(path)


def _is_own(document: object) -> bool:
    return isinstance(document, dict) and document.get("format") == FORMAT


def _own_tensors(document: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights in one of our files."""
    tensors = document.get("state_dict")
    if not isinstance(tensors, dict) or not tensors:
        raise InputError(f"checkpoint {path} is damaged: its 'state_dict' is missing or of the wrong kind")
    if wrong := [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path} is not a checkpoint: {wrong[0]} in it is not a tensor")
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _without_tensors(document: object) -> str:
    if isinstance(document, Mapping):
        keys = ", ".join(repr(str(key)) for key in list(document)[:5])
        if "param_groups" in document or any("optim" in str(key).lower() for key in document):
            return "it holds the state of an optimiser without weights; give the file with the network's state_dict"
        return f"it holds {keys or 'nothing'}, and in none of them weights by name"
    return f"it holds {type(document).__name__}, not weights by name"
