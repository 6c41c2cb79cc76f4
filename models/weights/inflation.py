"""2D weights inflated to 3D ("Quo Vadis", section 2.4): each kernel repeated N times in time and divided by N.

A video that shows one picture all the time then gives what the picture gives: exactly where no step sees the zero
padding of the clip's ends, and everywhere if the ends are padded by repetition.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.layers.inception import Inception
from kinetics_pipeline.models.weights.checkpoints import assign
from kinetics_pipeline.models.weights.names import googlenet_unit, units

GOOGLENET_KEY = "conv1.conv.weight"
"""A name that only torchvision's GoogLeNet has."""
_NORMALISATION = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def inflate_kernel(kernel: Tensor, length: int) -> Tensor:
    """[out, in, h, w] -> [out, in, length, h, w]."""
    return kernel[:, :, None].repeat(1, 1, length, 1, 1) / length


def adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """[out, 3, h, w] -> [out, channels, h, w]: as it is for RGB; for flow the mean over RGB, repeated (Wang et al.,
    "Temporal Segment Networks", section 3.2)."""
    if kernel.shape[1] == channels:
        return kernel
    return kernel.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)


def inflate(model: nn.Module, weights_2d: Mapping[str, Tensor]) -> None:
    """Fills every Inception-V1 in `model`, inflated or 2D, from the state dict of our 2D one or of torchvision's
    GoogLeNet.

    The last layer stays as it is: its classes are others. GoogLeNet's auxiliary heads and classifier are not used.

    Raises:
        InputError: a weight is missing or of another shape, or the model has no Inception-V1; it is then unchanged.
    """
    trunks = [module for module in model.modules() if isinstance(module, Inception)]
    if not trunks:
        raise InputError("this model has no Inception-V1 that could take 2D weights; it is trained from scratch")
    filled = [(trunk, _for_trunk(trunk, weights_2d)) for trunk in trunks]
    for trunk, weights in filled:
        assign(trunk, weights, "the set of 2D weights", head=False)


def _for_trunk(trunk: Inception, weights_2d: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights_2d` under the names and in the shapes of `trunk`."""
    own = trunk.state_dict()
    googlenet = GOOGLENET_KEY in weights_2d
    found: dict[str, Tensor] = {}
    for unit in units():
        flat = unit.replace("Conv3d", "Conv2d")
        theirs, conv = (googlenet_unit(unit), "conv") if googlenet else (flat, "conv2d")
        name = f"{theirs}.{conv}.weight"
        if name not in weights_2d:
            raise InputError(f"these 2D weights lack {name}; allowed: ours, or torchvision's GoogLeNet")
        ours, own_conv = (unit, "conv3d") if trunk.dimensions == 3 else (flat, "conv2d")
        target = own[f"{ours}.{own_conv}.weight"]
        kernel = weights_2d[name]
        if kernel.ndim != 4:
            raise InputError(f"{name} of these 2D weights has shape {tuple(kernel.shape)}; allowed: four axes")
        kernel = kernel.to(target.dtype)
        if unit == "Conv3d_1a_7x7":
            kernel = adapt_channels(kernel, target.shape[1])
        found[f"{ours}.{own_conv}.weight"] = inflate_kernel(kernel, target.shape[2]) if target.ndim == 5 else kernel
        for part in _NORMALISATION:
            if f"{theirs}.bn.{part}" in weights_2d:
                found[f"{ours}.bn.{part}"] = weights_2d[f"{theirs}.bn.{part}"].clone()
    return found


def two_dimensional(weights: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """`weights` where they are those of a 2D Inception-V1 (ours, also as a part of `Inception2D`, or torchvision's
    GoogLeNet); else None."""
    if GOOGLENET_KEY in weights:
        return dict(weights)
    if "lstm.input.weight" in weights:
        return None
    for prefix in ("", "trunk."):
        if f"{prefix}Conv2d_1a_7x7.conv2d.weight" in weights:
            return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return None
