"""Two-Stream: Inception-V1 on one RGB frame and on ten stacked flow frames ("Quo Vadis", section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinetics_pipeline.models.inception2d import InceptionFeatures, new_linear
from kinetics_pipeline.models.layers.axes import split_axis
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM
from kinetics_pipeline.models.layers.inception import FEATURES
from kinetics_pipeline.models.layers.snippets import (
    FLOW_CHANNELS,
    FLOW_FRAMES,
    check_streams,
    gather_snippets,
    snippet_frames,
    snippet_starts,
)

MOST_SNIPPETS = 25
"""The most snippets of a clip that are used: 25 RGB and 250 flow frames, as in the paper's tests."""


class TwoStream(nn.Module):
    """RGB [N, C, T, H, W] and flow [N, 2, T, H, W], T >= 10 -> logits [N, classes], averaged over both streams and
    over snippets of ten frames. One tensor with both, [N, C + 2, T, H, W], is taken too.

    Training on clips of ten frames sees one snippet; one loss, through the average, trains both streams.
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
        self.dropout = nn.Dropout(dropout)
        self.rgb_logits = new_linear(FEATURES, num_classes)
        self.flow_logits = new_linear(FEATURES, num_classes)

    def forward(self, rgb: Tensor, flow: Tensor | None = None) -> Tensor:
        heads = self.head_logits(rgb, flow)
        return (heads["rgb"] + heads["flow"]) / 2

    def head_logits(self, rgb: Tensor, flow: Tensor | None = None) -> dict[str, Tensor]:
        """Logits [N, classes] of each stream alone, averaged over snippets."""
        seen, moved = self._snippets(rgb, flow)
        appearance: Tensor = self.rgb_logits(self.dropout(seen))
        motion: Tensor = self.flow_logits(self.dropout(moved))
        heads = {"rgb": appearance, "flow": motion}
        return {name: split_axis(logits, 0, (len(rgb), -1)).mean(dim=1) for name, logits in heads.items()}

    def frames_used(self, frames: int) -> dict[str, list[int]]:
        """Numbers of the frames of each stream that are looked at."""
        return snippet_frames(snippet_starts(frames, MOST_SNIPPETS))

    def features(self, rgb: Tensor, flow: Tensor | None = None) -> Tensor:
        """What the two last layers see, RGB's before flow's: [N, 2048], the mean over snippets."""
        return split_axis(torch.cat(self._snippets(rgb, flow), dim=1), 0, (len(rgb), -1)).mean(dim=1)

    def _snippets(self, rgb: Tensor, flow: Tensor | None) -> tuple[Tensor, Tensor]:
        """[N * snippets, 1024] of each stream."""
        rgb, flow = check_streams("two_stream", rgb, flow, self.in_channels)
        pictures, stacks = gather_snippets(rgb, flow, snippet_starts(rgb.shape[2], MOST_SNIPPETS))
        return self.rgb(pictures.flatten(0, 1)), self.flow(stacks.flatten(0, 1))
