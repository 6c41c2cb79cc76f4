"""ConvNet + LSTM: Inception-V1 on single frames, a recurrent layer over them ("Quo Vadis", section 2.1)."""

from __future__ import annotations

from torch import Tensor, nn

from kinetics_pipeline.models.inception2d import InceptionFeatures, check_stride, frames_of, new_linear
from kinetics_pipeline.models.layers.axes import split_axis
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM
from kinetics_pipeline.models.layers.batch_norm_lstm import BatchNormLSTM
from kinetics_pipeline.models.layers.clip_check import check_clip
from kinetics_pipeline.models.layers.inception import FEATURES

HIDDEN = 512
STEPS = 50
"""Steps of a clip of 250 frames, one of 5 used. Of longer ones as many frames are used, evenly (Table 1)."""


class ConvNetLSTM(nn.Module):
    """A clip [N, C, T, H, W] in [-1, 1] at 25 fps -> logits [N, classes] of the last step.

    Training puts the loss on every step, and asks for them by `every_step`.
    """

    inputs = ("video",)
    least_frames = 1
    loss_at_every_step = True

    def __init__(
        self,
        num_classes: int = 400,
        in_channels: int = 3,
        dropout: float = 0.5,
        bn_momentum: float = MOMENTUM,
        frame_stride: int = 5,
        checkpoint_activations: bool = False,
    ) -> None:
        """`frame_stride`: one of so many frames is used."""
        super().__init__()
        self.frame_stride = check_stride(frame_stride)
        self.trunk = InceptionFeatures(in_channels, bn_momentum, checkpoint_activations)
        self.lstm = BatchNormLSTM(FEATURES, HIDDEN, STEPS, bn_momentum)
        self.dropout = nn.Dropout(dropout)
        self.logits = new_linear(HIDDEN, num_classes)

    def forward(self, video: Tensor, every_step: bool = False) -> Tensor:
        """[N, classes], or for every step [N, classes, ceil(T / frame_stride)], at most 50."""
        states = self._states(video)
        logits: Tensor = self.logits(self.dropout(states if every_step else states[:, -1]))
        return logits.transpose(1, 2) if every_step else logits

    def frames_used(self, frames: int) -> dict[str, list[int]]:
        """Numbers of the frames of a clip that are looked at."""
        if frames <= STEPS * self.frame_stride:
            return {"video": list(range(0, frames, self.frame_stride))}
        return {"video": [step * frames // STEPS for step in range(STEPS)]}

    def features(self, video: Tensor) -> Tensor:
        """What the last layer sees, the state after the last step: [N, 512]."""
        return self._states(video)[:, -1]

    def _states(self, video: Tensor) -> Tensor:
        """[N, steps, 512]."""
        check_clip("convnet_lstm", video, self.trunk.in_channels)
        frames, clips = frames_of(video[:, :, self.frames_used(video.shape[2])["video"]])
        states: Tensor = self.lstm(split_axis(self.trunk(frames), 0, (clips, -1)))
        return states
