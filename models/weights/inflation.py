"""2D weights inflated to 3D ("Quo Vadis", section 2.4): each kernel repeated N times in time and divided by N.

A video that shows one picture all the time then gives what the picture gives: exactly where no step sees the zero
padding of the clip's ends, and everywhere if the ends are padded by repetition.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from models.errors import InputError
from models.weights.checkpoints import assign
from models.weights.names import googlenet_unit, units

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
    """Fills the trunk of an I3D `model` from the state dict of our 2D Inception-V1 or of torchvision's GoogLeNet.

    The last layer stays as it is: its classes are others. GoogLeNet's auxiliary heads and classifier are not used.

    Raises:
        InputError: a weight is missing or of another shape; the model is then unchanged.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("logits.")}
    googlenet = "conv1.conv.weight" in weights_2d
    inflated: dict[str, Tensor] = {}
    for unit in units():
        theirs = googlenet_unit(unit) if googlenet else unit.replace("Conv3d", "Conv2d")
        conv = "conv" if googlenet else "conv2d"
        name = f"{theirs}.{conv}.weight"
        if name not in weights_2d:
            raise InputError(f"these 2D weights lack {name}; allowed: ours, or torchvision's GoogLeNet")
        kernel = weights_2d[name]
        target = own[f"{unit}.conv3d.weight"]
        if unit == "Conv3d_1a_7x7":
            kernel = adapt_channels(kernel, target.shape[1])
        inflated[f"{unit}.conv3d.weight"] = inflate_kernel(kernel.to(target.dtype), target.shape[2])
        for part in _NORMALISATION:
            if f"{theirs}.bn.{part}" in weights_2d:
                inflated[f"{unit}.bn.{part}"] = weights_2d[f"{theirs}.bn.{part}"].clone()
    assign(model, inflated, "the set of 2D weights", head=False)
