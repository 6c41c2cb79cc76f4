"""I3D written once more, plainly, under the public PyTorch port's class and parameter names; shares no code with ours.

It stands in for the port's own file where that is not given. Layer table: "Quo Vadis, Action Recognition?", figure 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}


def padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Pads with zeros, so that nothing is cut off behind. Every pool follows a ReLU: zero wins over nothing."""
    sides: list[int] = []
    for n, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        lacking = max(0, k - (n % s or s))
        sides = [lacking // 2, lacking - lacking // 2, *sides]
    return F.pad(x, sides)


class Unit3D(nn.Module):
    def __init__(self, into: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(into, out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(padded(x, self.conv3d.kernel_size, self.conv3d.stride))))


class Module(nn.Module):
    def __init__(self, into: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int) -> None:
        super().__init__()
        self.b0, self.b1a, self.b1b = Unit3D(into, b0), Unit3D(into, b1a), Unit3D(b1a, b1b, 3)
        self.b2a, self.b2b, self.b3b = Unit3D(into, b2a), Unit3D(b2a, b2b, 3), Unit3D(into, b3b)

    def forward(self, x: Tensor) -> Tensor:
        pooled = pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class Logits(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, classes, 1)


class InceptionI3d(nn.Module):
    """[N, C, T, H, W] -> logits [N, classes, T'], as the port gives them; [N, classes, T', 2, 2] above 224."""

    def __init__(self, num_classes: int = 400, in_channels: int = 3) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(in_channels, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3D(64, 64)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, 3)
        for name, channels in MIXED.items():
            self.add_module(name, Module(*channels))
        self.logits = Logits(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                x = pool(x, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                x = pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        logits: Tensor = self.logits.conv3d(F.avg_pool3d(x, (2, 7, 7), 1))
        return logits.squeeze(3).squeeze(3)


def pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(padded(x, kernel, stride), kernel, stride)
