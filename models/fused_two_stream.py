"""3D-Fused Two-Stream: the two streams meet in a 3D convolution over time ("Quo Vadis", section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinetics_pipeline.models.inception2d import InceptionFeatures
from kinetics_pipeline.models.layers.axes import split_axis
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM
from kinetics_pipeline.models.layers.inception import FEATURES, Unit
from kinetics_pipeline.models.layers.padding import max_pool_same
from kinetics_pipeline.models.layers.snippets import (
    FLOW_CHANNELS,
    FLOW_FRAMES,
    check_streams,
    gather_snippets,
    snippet_frames,
    snippet_starts,
)

FUSED_CHANNELS = 512
SNIPPETS = 5
"""A group has so many RGB frames, ten frames apart, each with the ten flow frames that begin there."""
GROUP_FRAMES = SNIPPETS * FLOW_FRAMES
MOST_GROUPS = 5
STANDARD_DEVIATION = 0.01
"""The new layers start from a Gaussian of this width; the paper names the distribution, not its width."""


class FusedTwoStream(nn.Module):
    """RGB [N, C, T, H, W] and flow [N, 2, T, H, W], T >= 10 -> logits [N, classes], averaged over groups of 50 frames.
    One tensor with both, [N, C + 2, T, H, W], is taken too.

    A clip of less than 50 frames is one group whose five snippets overlap; there are at most five groups, evenly over
    the clip: 250 frames, as in the paper's tests.
    """

    inputs = ("rgb", "flow")
    least_frames = FLOW_FRAMES

    def __init__(
        self,
        num_classes: int = 400,
        in_channels: int = 3,
        dropout: float = 0.5,
        bn_momentum: float = MOMENTUM,
        checkpoint_activations: bool = False,
    ) -> None:
        """`in_channels`: channels of the RGB stream; flow has two."""
        super().__init__()
        self.in_channels = in_channels
        self.rgb = InceptionFeatures(in_channels, bn_momentum, checkpoint_activations)
        self.flow = InceptionFeatures(FLOW_CHANNELS * FLOW_FRAMES, bn_momentum, checkpoint_activations)
        self.fusion = Unit(3, 2 * FEATURES, FUSED_CHANNELS, (3, 3, 3), bn_momentum=bn_momentum)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(FUSED_CHANNELS, num_classes)
        for weight in (self.fusion.convolution.weight, self.logits.weight):
            nn.init.normal_(weight, std=STANDARD_DEVIATION)
        nn.init.zeros_(self.logits.bias)

    def forward(self, rgb: Tensor, flow: Tensor | None = None) -> Tensor:
        logits: Tensor = self.logits(self.dropout(self._groups(rgb, flow)))
        return split_axis(logits, 0, (len(rgb), -1)).mean(dim=1)

    def frames_used(self, frames: int) -> dict[str, list[int]]:
        """Numbers of the frames of each stream that are looked at."""
        return snippet_frames(_starts(frames))

    def features(self, rgb: Tensor, flow: Tensor | None = None) -> Tensor:
        """What the last layer sees: [N, 512], the mean over groups."""
        return split_axis(self._groups(rgb, flow), 0, (len(rgb), -1)).mean(dim=1)

    def _groups(self, rgb: Tensor, flow: Tensor | None) -> Tensor:
        """[N * groups, 512]."""
        rgb, flow = check_streams("fused_two_stream", rgb, flow, self.in_channels)
        pictures, stacks = gather_snippets(rgb, flow, _starts(rgb.shape[2]))
        both = torch.cat([self.rgb.trunk(pictures.flatten(0, 1)), self.flow.trunk(stacks.flatten(0, 1))], dim=1)
        # Frames become time again: [N * groups, 2048, 5, h, w].
        volume = split_axis(both, 0, (-1, SNIPPETS)).transpose(1, 2)
        return max_pool_same(self.fusion(volume), (3, 3, 3), (2, 2, 2)).mean(dim=(2, 3, 4))


def _starts(frames: int) -> list[int]:
    """First frames of the snippets of a clip, five a group."""
    if frames < GROUP_FRAMES:
        return [round(i * (frames - FLOW_FRAMES) / (SNIPPETS - 1)) for i in range(SNIPPETS)]
    groups = snippet_starts(frames, MOST_GROUPS, GROUP_FRAMES)
    return [first + i * FLOW_FRAMES for first in groups for i in range(SNIPPETS)]
