"""Inception-V1 with batch normalisation, in two dimensions or inflated to three: I3D's trunk, up to Mixed_5c.

Layer table and names: Carreira and Zisserman, "Quo Vadis, Action Recognition?", figure 3, and google-deepmind's
kinetics-i3d, i3d.py. Note the 3x3 where GoogLeNet's paper has 5x5. The parameters of the three-dimensional trunk
are named as in the public PyTorch port (piergiaj/pytorch-i3d).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM, BatchNorm, statistics_paused
from kinetics_pipeline.models.layers.padding import convolve_same, max_pool_same

Dimensions = Literal[2, 3]


@dataclass(frozen=True)
class Convolution:
    """Kernel and stride over (time, height, width)."""

    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    channels: int


@dataclass(frozen=True)
class MaxPool:
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]


@dataclass(frozen=True)
class Mixed:
    """Channels of branch 0; of branch 1 before and after its 3x3x3; of branch 2 likewise; of branch 3."""

    b0: int
    b1a: int
    b1b: int
    b2a: int
    b2b: int
    b3b: int

    @property
    def channels(self) -> int:
        return self.b0 + self.b1b + self.b2b + self.b3b


LAYERS: dict[str, Convolution | MaxPool | Mixed] = {
    "Conv3d_1a_7x7": Convolution((7, 7, 7), (2, 2, 2), 64),
    "MaxPool3d_2a_3x3": MaxPool((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": Convolution((1, 1, 1), (1, 1, 1), 64),
    "Conv3d_2c_3x3": Convolution((3, 3, 3), (1, 1, 1), 192),
    "MaxPool3d_3a_3x3": MaxPool((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": Mixed(64, 96, 128, 16, 32, 32),
    "Mixed_3c": Mixed(128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": MaxPool((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": Mixed(192, 96, 208, 16, 48, 64),
    "Mixed_4c": Mixed(160, 112, 224, 24, 64, 64),
    "Mixed_4d": Mixed(128, 128, 256, 24, 64, 64),
    "Mixed_4e": Mixed(112, 144, 288, 32, 64, 64),
    "Mixed_4f": Mixed(256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": MaxPool((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": Mixed(256, 160, 320, 32, 128, 128),
    "Mixed_5c": Mixed(384, 192, 384, 48, 128, 128),
}
FEATURES = 1024
"""Channels of Mixed_5c."""


def endpoint_names(dimensions: Dimensions) -> tuple[str, ...]:
    """Names of the trunk's endpoints, first to last; the 2D network's say 2d where the 3D one's say 3d."""
    return tuple(LAYERS) if dimensions == 3 else tuple(name.replace("3d", "2d") for name in LAYERS)


def initialise(layer: nn.Conv2d | nn.Conv3d | nn.Linear) -> None:
    """Truncated normal, cut at two of its standard deviations, 1 / sqrt(fan in) (Sonnet's default); no bias."""
    std = 1 / math.sqrt(layer.weight[0].numel())
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Unit(nn.Module):
    """Convolution without bias, SAME padding -> batch normalisation -> ReLU."""

    def __init__(
        self,
        dimensions: Dimensions,
        in_channels: int,
        channels: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
        bn_momentum: float = MOMENTUM,
    ) -> None:
        super().__init__()
        if dimensions == 3:
            self.conv3d = nn.Conv3d(in_channels, channels, kernel, stride, bias=False)
        else:
            self.conv2d = nn.Conv2d(in_channels, channels, kernel[1:], stride[1:], bias=False)
        self.bn = BatchNorm(channels, bn_momentum)
        self.dimensions = dimensions
        initialise(self.convolution)

    @property
    def convolution(self) -> nn.Conv2d | nn.Conv3d:
        return self.conv3d if self.dimensions == 3 else self.conv2d

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.bn(convolve_same(self.convolution, x)))


class MixedBlock(nn.Module):
    """Four branches over the same input, joined along the channels."""

    def __init__(self, dimensions: Dimensions, in_channels: int, mixed: Mixed, bn_momentum: float) -> None:
        super().__init__()
        m, three = mixed, (3, 3, 3)
        self.b0 = Unit(dimensions, in_channels, m.b0, bn_momentum=bn_momentum)
        self.b1a = Unit(dimensions, in_channels, m.b1a, bn_momentum=bn_momentum)
        self.b1b = Unit(dimensions, m.b1a, m.b1b, three, bn_momentum=bn_momentum)
        self.b2a = Unit(dimensions, in_channels, m.b2a, bn_momentum=bn_momentum)
        self.b2b = Unit(dimensions, m.b2a, m.b2b, three, bn_momentum=bn_momentum)
        self.b3b = Unit(dimensions, in_channels, m.b3b, bn_momentum=bn_momentum)

    def forward(self, x: Tensor) -> Tensor:
        ones_, threes = (1,) * (x.ndim - 2), (3,) * (x.ndim - 2)
        pooled = max_pool_same(x, threes, ones_)
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class Inception(nn.Module):
    """The trunk. [N, C, (T,) H, W] in [-1, 1] -> Mixed_5c [N, 1024, (T/8,) H/32, W/32], sizes rounded up."""

    def __init__(
        self,
        dimensions: Dimensions,
        in_channels: int,
        bn_momentum: float = MOMENTUM,
        checkpoint_activations: bool = False,
    ) -> None:
        """`checkpoint_activations`: keep only what passes between blocks and compute their insides again in the
        backward pass; a third more time for a fraction of the memory."""
        super().__init__()
        self.dimensions = dimensions
        self.in_channels = in_channels
        self.checkpoint_activations = checkpoint_activations
        channels = in_channels
        for name, layer in zip(endpoint_names(dimensions), LAYERS.values(), strict=True):
            if isinstance(layer, Convolution):
                unit = Unit(dimensions, channels, layer.channels, layer.kernel, layer.stride, bn_momentum)
                self.add_module(name, unit)
                channels = layer.channels
            elif isinstance(layer, Mixed):
                self.add_module(name, MixedBlock(dimensions, channels, layer, bn_momentum))
                channels = layer.channels

    def endpoints(self, x: Tensor, until: str = "Mixed_5c") -> dict[str, Tensor]:
        """Outputs of the layers by name, in order, up to and with `until`. Raises InputError for another name."""
        names = endpoint_names(self.dimensions)
        if until not in names:
            raise InputError(f"no endpoint {until!r}; allowed: {', '.join(names)}")
        found: dict[str, Tensor] = {}
        for name in names:
            found[name] = x = self._layer(name, x)
            if name == until:
                break
        return found

    def trunk(self, x: Tensor) -> Tensor:
        """Mixed_5c alone: the layers in between are let go as soon as they are used."""
        for name in endpoint_names(self.dimensions):
            x = self._layer(name, x)
        return x

    def _layer(self, name: str, x: Tensor) -> Tensor:
        layer = LAYERS[name.replace("2d", "3d")]
        if isinstance(layer, MaxPool):
            return max_pool_same(x, layer.kernel[-self.dimensions :], layer.stride[-self.dimensions :])
        block = self.get_submodule(name)
        if not (self.checkpoint_activations and self.training and torch.is_grad_enabled()):
            out: Tensor = block(x)
            return out

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), statistics_paused(block)

        recomputed: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
        return recomputed
