"""Convolution of 3x3x3 with half the multiplications, by Winograd's minimal filtering along time.

Four output frames take six input frames. Computed one by one they cost twelve convolutions of 3x3; of six sums of
the input frames, each with weights of its own, six convolutions are enough, and the four frames are sums of their
results. This is F(4, 3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), in one
dimension. In 32-bit floats results differ by 3e-6 of the largest value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Convolve = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Pictures [N, C, H, W], weights [K, C, 3, 3] and a bias [K] -> [N, K, H, W], with one place of zeros around."""

FRAMES, OUTPUTS = 6, 4
"""Frames that a tile is made of, and frames that it makes."""
LEAST_CHANNELS, LEAST_PLACES = 64, 14 * 14
"""Where there are fewer input channels, or smaller pictures, the sums take longer than what they save."""
VALUES_AT_ONCE = 1_200_000
"""Values of one frame of all tiles that are made at once: what lies between the sums stays in the processor's cache."""

# The matrices of Lavin and Gray, section 4.1 (their equations 9 and 10), for F(4, 3).
INPUT_SUMS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
WEIGHT_SUMS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT_SUMS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
WITH_BIAS = 1
"""The convolution that is given the bias: its result counts once in each output frame."""


class TimeTiles(nn.Module):
    """A convolution of 3x3x3 with SAME padding, bias and ReLU, for inference on a CPU."""

    weights: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, convolve: Convolve) -> None:
        """`weight`: [K, C, 3, 3, 3]. `convolve`: what computes pictures."""
        super().__init__()
        sums = torch.tensor(WEIGHT_SUMS, dtype=torch.float64)
        summed = torch.einsum("st,kcthw->skchw", sums, weight.double()).float()
        self._convolve = convolve
        self.register_buffer("weights", summed.permute(0, 1, 3, 4, 2).contiguous())  # channels last
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T, H, W] -> [N, K, T, H, W], both with channels last in memory."""
        count, channels, frames, height, width = x.shape
        tiles = -(-frames // OUTPUTS)
        found = x.new_empty(count, tiles, OUTPUTS, height * width * len(self.bias))
        at_once = max(1, VALUES_AT_ONCE // (height * width * max(channels, len(self.bias))))
        for clip in range(count):
            values = x[clip].permute(1, 2, 3, 0).reshape(frames, -1)
            padded = F.pad(values, (0, 0, 1, tiles * OUTPUTS - frames + 1))  # beyond the clip there are zeros
            for first in range(0, tiles, at_once):
                last = min(first + at_once, tiles)
                of_tiles = [padded[first * OUTPUTS + n :: OUTPUTS][: last - first] for n in range(FRAMES)]
                sums = torch.mm(x.new_tensor(INPUT_SUMS), torch.stack(of_tiles).flatten(1))
                pictures = sums.view(FRAMES, last - first, height, width, channels).permute(0, 1, 4, 2, 3)
                made = torch.mm(x.new_tensor(OUTPUT_SUMS), self._convolved(pictures)).view(OUTPUTS, last - first, -1)
                torch.clamp_min(made.transpose(0, 1), 0, out=found[clip, first:last])
        shaped = found.view(count, tiles * OUTPUTS, height, width, -1)[:, :frames]
        return shaped.permute(0, 4, 1, 2, 3)

    def _convolved(self, pictures: Tensor) -> Tensor:
        """Pictures [6, tiles, C, H, W], each sixth with its own weights: [6, tiles * H * W * K]."""
        results = []
        for number, weight in enumerate(self.weights.permute(0, 1, 4, 2, 3)):
            result = self._convolve(pictures[number], weight, self.bias if number == WITH_BIAS else None)
            results.append(result.permute(0, 2, 3, 1).reshape(1, -1))
        return torch.cat(results)
