"""Inception-V1 on single frames: the trunk of the 2D architectures, and a classifier of its own."""

from __future__ import annotations

from torch import Tensor, nn

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.layers.axes import split_axis
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM
from kinetics_pipeline.models.layers.clip_check import check_clip
from kinetics_pipeline.models.layers.inception import FEATURES, Inception, initialise


class InceptionFeatures(Inception):
    """Frames [N, C, H, W] in [-1, 1] -> [N, 1024], averaged over space."""

    def __init__(self, in_channels: int, bn_momentum: float = MOMENTUM, checkpoint_activations: bool = False) -> None:
        super().__init__(2, in_channels, bn_momentum, checkpoint_activations)

    def forward(self, frames: Tensor) -> Tensor:
        return self.trunk(frames).mean(dim=(2, 3))


class Inception2D(nn.Module):
    """One classifier for all frames: a clip [N, C, T, H, W] -> logits [N, classes], the mean over its frames.

    It sees no motion, and so measures how much single frames tell about the class.
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
        """`frame_stride`: one of so many frames is used."""
        super().__init__()
        self.frame_stride = check_stride(frame_stride)
        self.trunk = InceptionFeatures(in_channels, bn_momentum)
        self.dropout = nn.Dropout(dropout)
        self.logits = new_linear(FEATURES, num_classes)

    def frames_used(self, frames: int) -> dict[str, list[int]]:
        """Numbers of the frames of a clip that are looked at."""
        return {"video": list(range(0, frames, self.frame_stride))}

    def forward(self, video: Tensor) -> Tensor:
        check_clip("inception2d", video, self.trunk.in_channels)
        frames, clips = frames_of(video[:, :, :: self.frame_stride])
        logits: Tensor = self.logits(self.dropout(self.trunk(frames)))
        return split_axis(logits, 0, (clips, -1)).mean(dim=1)


def check_stride(frame_stride: int) -> int:
    """Returns `frame_stride`. Raises InputError below 1."""
    if frame_stride < 1:
        raise InputError(f"frame_stride is {frame_stride}; allowed: from 1, 5 in the paper")
    return frame_stride


def frames_of(video: Tensor) -> tuple[Tensor, int]:
    """[N, C, T, H, W] -> ([N * T, C, H, W], N)."""
    return video.transpose(1, 2).flatten(0, 1), len(video)


def new_linear(in_features: int, out_features: int) -> nn.Linear:
    """A layer that starts as the convolutions do."""
    linear = nn.Linear(in_features, out_features)
    initialise(linear)
    return linear
