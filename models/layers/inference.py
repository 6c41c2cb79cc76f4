"""A trained network on a CPU in 32-bit floats: batch normalisation and ReLU become part of the convolution before them.

Normalisation with fixed statistics is one factor and one shift a channel, which weights and a bias can hold; then two
passes over every layer's output fall away. The largest convolutions of 3x3x3 take half the multiplications
(`time_tiles`). Results differ in the last bits: by 4e-6 of the largest feature of I3D.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kinetics_pipeline.models.layers.inception import Unit
from kinetics_pipeline.models.layers.padding import even_padding
from kinetics_pipeline.models.layers.time_tiles import LEAST_CHANNELS, LEAST_PLACES, TimeTiles

_AGREE = 1e-5
"""Largest difference of the fused operator from the separate ones, on values around 1."""


class FoldedUnit(nn.Module):
    """A `Unit` in evaluation mode as one convolution with a bias, and ReLU."""

    weight: Tensor
    bias: Tensor

    def __init__(self, unit: Unit, fused: Any | None) -> None:
        """`fused`: the operator that computes convolution and ReLU in one pass, where there is one."""
        super().__init__()
        conv, bn = unit.convolution, unit.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        self.kernel, self.stride, self._fused = conv.kernel_size, conv.stride, fused
        order = torch.channels_last_3d if weight.ndim == 5 else torch.channels_last
        self.register_buffer("weight", weight.detach().contiguous(memory_format=order))
        self.register_buffer("bias", bias.detach())
        self.tiles: TimeTiles | None = None
        if self.kernel == (3, 3, 3) and self.stride == (1, 1, 1) and conv.in_channels >= LEAST_CHANNELS:
            self.tiles = TimeTiles(self.weight, self.bias, partial(_pictures, fused))

    def forward(self, x: Tensor) -> Tensor:
        if self.tiles is not None and x.shape[3] * x.shape[4] >= LEAST_PLACES:
            tiled: Tensor = self.tiles(x)
            return tiled
        x, sides = even_padding(x, self.kernel, self.stride)
        if self._fused is not None:
            dilation = [1] * len(sides)
            found: Tensor = self._fused(x, self.weight, self.bias, sides, self.stride, dilation, 1, "relu", [], "")
            return found
        convolve = F.conv3d if x.ndim == 5 else F.conv2d
        return torch.relu_(convolve(x, self.weight, self.bias, self.stride, sides))


def _pictures(fused: Any | None, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution of 3x3 of pictures [N, C, H, W] with SAME padding, without ReLU."""
    if fused is None:
        return F.conv2d(x, weight, bias, padding=1)
    one = [1, 1]
    found: Tensor = fused(x, weight, bias, one, one, one, 1, "none", [], "")
    return found


@torch.no_grad()
def folded(module: nn.Module) -> nn.Module:
    """`module`, in evaluation mode and on the CPU, with each `Unit` replaced by a `FoldedUnit`, in place.

    Its inputs are to come in the order of memory `channels_last`; it can be trained no more.
    """
    fused = fused_operator()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Unit):
                setattr(parent, name, FoldedUnit(child, fused))
    return module


def fused_operator() -> Any | None:
    """oneDNN's convolution with ReLU, which torch's compiler uses; None where this build of torch lacks it, or has
    another one by its name. It has no public name: so it is tried against the public operators first."""
    numbers = torch.Generator().manual_seed(0)
    try:
        operator: Any = torch.ops.mkldnn._convolution_pointwise
        for axes in (2, 3):
            x = torch.randn(1, 3, *[6] * axes, generator=numbers)
            weight = torch.randn(8, 3, *[3] * axes, generator=numbers) / 9
            bias = torch.randn(8, generator=numbers)
            one = [1] * axes
            plain = (F.conv3d if axes == 3 else F.conv2d)(x, weight, bias, 1, 1)
            for name, expected in (("none", plain), ("relu", torch.relu(plain))):
                found = operator(x, weight, bias, one, one, one, 1, name, [], "")
                if found.shape != expected.shape or not float((found - expected).abs().max()) < _AGREE:
                    return None
    except (AttributeError, RuntimeError, TypeError):
        return None
    return operator
