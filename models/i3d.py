"""I3D: Inception-V1 inflated to three dimensions (Carreira and Zisserman, CVPR 2017), one stream."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetics_pipeline.models.layers.batch_norm import MOMENTUM
from kinetics_pipeline.models.layers.clip_check import check_clip
from kinetics_pipeline.models.layers.inception import FEATURES, Inception, endpoint_names, initialise
from kinetics_pipeline.models.scoring.actions import upsample

LEAST_FRAMES = 9
"""Four halvings of fewer leave one step, and the last pool needs two."""


class Logits(nn.Module):
    """The 1x1x1 convolution with bias that ends the network; the only layer without normalisation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(FEATURES, num_classes, 1)
        initialise(self.conv3d)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv3d(x)
        return logits


class I3D(Inception):
    """A clip [N, C, T >= 9, H, W] in [-1, 1] -> logits [N, classes], averaged over time (and space, above 224)."""

    inputs = ("video",)
    least_frames = LEAST_FRAMES

    def __init__(
        self,
        num_classes: int = 400,
        in_channels: int = 3,
        dropout: float = 0.5,
        bn_momentum: float = MOMENTUM,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(3, in_channels, bn_momentum, checkpoint_activations)
        self.num_classes = num_classes
        self.dropout = nn.Dropout(dropout)
        self.logits = Logits(num_classes)

    def forward(self, video: Tensor, every_frame: bool = False) -> Tensor:
        """[N, classes], or for every frame [N, classes, T]: the steps' logits, linearly between them."""
        steps = self.dense_logits(video)
        return upsample(steps, video.shape[2]) if every_frame else steps.mean(dim=2)

    def frames_used(self, frames: int) -> dict[str, list[int]]:
        """Numbers of the frames of a clip that are looked at: all."""
        return {"video": list(range(frames))}

    def dense_logits(self, video: Tensor) -> Tensor:
        """Logits [N, classes, T'] of each of the T' = ceil(T / 8) - 1 steps."""
        check_clip("i3d", video, self.in_channels, LEAST_FRAMES)
        return self._logits_map(self.trunk(video)).mean(dim=(3, 4))

    def features(self, video: Tensor) -> Tensor:
        """What the last layer sees: [N, 1024, T'], averaged over space."""
        check_clip("i3d", video, self.in_channels, LEAST_FRAMES)
        return pool_last(self.trunk(video)).mean(dim=(3, 4))

    def feature_map(self, video: Tensor) -> Tensor:
        """`features` before the average over space: [N, 1024, T', H / 32, W / 32], the mean of two steps each."""
        check_clip("i3d", video, self.in_channels, LEAST_FRAMES)
        return F.avg_pool3d(self.trunk(video), (2, 1, 1), stride=1)

    def endpoints(self, x: Tensor, until: str = "Predictions") -> dict[str, Tensor]:
        """All layers' outputs by name up to `until`; after Mixed_5c come Logits [N, classes, T', H', W'] and
        Predictions, the probabilities [N, classes]."""
        check_clip("i3d", x, self.in_channels, LEAST_FRAMES)
        if until in ("Logits", "Predictions"):
            found = super().endpoints(x, endpoint_names(3)[-1])
            found["Logits"] = self._logits_map(found["Mixed_5c"])
            if until == "Predictions":
                found["Predictions"] = torch.softmax(found["Logits"].float().mean(dim=(2, 3, 4)), dim=1)
            return found
        return super().endpoints(x, until)

    def _logits_map(self, mixed_5c: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.dropout(pool_last(mixed_5c)))
        return logits


def pool_last(mixed_5c: Tensor) -> Tensor:
    """Average over 2 steps and 7 x 7 places, stride 1, no padding; over fewer places where a small crop has fewer."""
    height, width = mixed_5c.shape[3:]
    return F.avg_pool3d(mixed_5c, (2, min(7, height), min(7, width)), stride=1)
