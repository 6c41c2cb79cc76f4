"""3D-ConvNet: C3D with batch normalisation ("Quo Vadis", section 2.2; Tran et al., ICCV 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.inception2d import new_linear
from kinetics_pipeline.models.layers.axes import split_axis
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM, BatchNorm
from kinetics_pipeline.models.layers.clip_check import check_clip
from kinetics_pipeline.models.layers.inception import Unit, initialise
from kinetics_pipeline.models.layers.padding import max_pool_same
from kinetics_pipeline.models.layers.snippets import snippet_starts

FRAMES = 16
CHANNELS = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Output channels of the convolutions between one pool and the next."""
HIDDEN = 4096
MOST_PIECES = 15


class C3D(nn.Module):
    """A clip [N, C, T >= 16, 112, 112] in [-1, 1] -> logits [N, classes], the mean over its 16-frame pieces.

    There are at most 15 pieces, evenly over the clip: 240 frames, as in the paper's tests.
    """

    inputs = ("video",)
    least_frames = FRAMES

    def __init__(
        self,
        num_classes: int = 400,
        in_channels: int = 3,
        dropout: float = 0.5,
        bn_momentum: float = MOMENTUM,
        crop_size: int = 112,
    ) -> None:
        """`crop_size`: height and width, which the first fully connected layer depends on."""
        super().__init__()
        if crop_size < 1:
            raise InputError(f"crop_size is {crop_size}; allowed: from 1, 112 in the paper")
        self.in_channels, self.crop_size = in_channels, crop_size
        self.convolutions = nn.ModuleList()
        channels = in_channels
        for group in CHANNELS:
            units = []
            for out in group:
                units.append(Unit(3, channels, out, (3, 3, 3), bn_momentum=bn_momentum))
                channels = out
            self.convolutions.append(nn.Sequential(*units))
        side = -(-crop_size // 2 ** len(CHANNELS))  # five halvings, rounded up; time comes down to one step
        self.fc6 = nn.Linear(channels * side * side, HIDDEN, bias=False)
        self.fc7 = nn.Linear(HIDDEN, HIDDEN, bias=False)
        for layer in (self.fc6, self.fc7):
            initialise(layer)
        self.bn6, self.bn7 = BatchNorm(HIDDEN, bn_momentum), BatchNorm(HIDDEN, bn_momentum)
        self.dropout = nn.Dropout(dropout)
        self.logits = new_linear(HIDDEN, num_classes)

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.logits(self._pieces(video))
        return split_axis(logits, 0, (len(video), -1)).mean(dim=1)

    def frames_used(self, frames: int) -> dict[str, list[int]]:
        """Numbers of the frames of a clip that are looked at."""
        starts = snippet_starts(frames, MOST_PIECES, FRAMES)
        return {"video": [start + k for start in starts for k in range(FRAMES)]}

    def features(self, video: Tensor) -> Tensor:
        """What the last layer sees, the second fully connected layer's outputs: [N, 4096], the mean over pieces."""
        return split_axis(self._pieces(video), 0, (len(video), -1)).mean(dim=1)

    def _pieces(self, video: Tensor) -> Tensor:
        """[N, C, T, side, side] -> [N * pieces, 4096]."""
        check_clip("c3d", video, self.in_channels, FRAMES)
        if video.shape[3:] != (self.crop_size, self.crop_size):
            size = "x".join(map(str, video.shape[3:]))
            raise InputError(f"c3d takes {self.crop_size}x{self.crop_size} frames, not {size}; crop to that")
        frames = video[:, :, self.frames_used(video.shape[2])["video"]]
        return self._hidden(split_axis(frames, 2, (-1, FRAMES)).transpose(1, 2).flatten(0, 1))

    def _hidden(self, x: Tensor) -> Tensor:
        """[N, C, 16, side, side] -> [N, 4096]."""
        for group in self.convolutions:
            x = max_pool_same(group(x), (2, 2, 2), (2, 2, 2))
        x = self.dropout(torch.relu(self.bn6(self.fc6(x.flatten(1)))))
        x = self.dropout(torch.relu(self.bn7(self.fc7(x))))
        return x
