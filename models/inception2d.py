"""Inception-V1 on single frames: the trunk of the 2D architectures, and a classifier of its own."""

from __future__ import annotations

from torch import Tensor, nn

from models.batch_norm import MOMENTUM
from models.clip_check import check_clip
from models.inception import FEATURES, Inception


class InceptionFeatures(Inception):
    """Frames [N, C, H, W] in [-1, 1] -> [N, 1024], averaged over space."""

    def __init__(self, in_channels: int, bn_momentum: float = MOMENTUM, checkpoint_activations: bool = False) -> None:
        super().__init__(2, in_channels, bn_momentum, checkpoint_activations)

    def forward(self, frames: Tensor) -> Tensor:
        return self.trunk(frames).mean(dim=(2, 3))


class Inception2D(nn.Module):
    """One classifier for all frames: a clip [N, C, T, H, W] -> logits [N, classes], the mean over its frames.

    It sees no motion, and so is the yardstick for what still pictures give away.
    """

    inputs = ("video",)

    def __init__(
        self,
        num_classes: int = 400,
        in_channels: int = 3,
        dropout: float = 0.5,
        bn_momentum: float = MOMENTUM,
        frame_stride: int = 5,
    ) -> None:
        """`frame_stride`: one frame of so many is looked at."""
        super().__init__()
        self.frame_stride = frame_stride
        self.trunk = InceptionFeatures(in_channels, bn_momentum)
        self.dropout = nn.Dropout(dropout)
        self.logits = new_linear(FEATURES, num_classes)

    def forward(self, video: Tensor) -> Tensor:
        check_clip("inception2d", video, self.trunk.in_channels)
        frames, clips = frames_of(video[:, :, :: self.frame_stride])
        logits: Tensor = self.logits(self.dropout(self.trunk(frames)))
        return logits.unflatten(0, (clips, -1)).mean(dim=1)


def frames_of(video: Tensor) -> tuple[Tensor, int]:
    """[N, C, T, H, W] -> ([N * T, C, H, W], N)."""
    return video.transpose(1, 2).flatten(0, 1), len(video)


def new_linear(in_features: int, out_features: int) -> nn.Linear:
    """Truncated normal of standard deviation 1 / sqrt(in), bias 0, as the convolutions have it."""
    linear = nn.Linear(in_features, out_features)
    std = in_features**-0.5
    nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(linear.bias)
    return linear
