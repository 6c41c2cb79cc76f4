"""Pyramids, resizing and gradients on torch tensors [N, H, W], as OpenCV's `resize` and tvl1flow.cpp do them."""

from __future__ import annotations

import torch
from torch import Tensor

from kinetics_pipeline.flow.parameters import TVL1, level_sizes


def resize(images: Tensor, height: int, width: int, scale_y: float, scale_x: float) -> Tensor:
    """Bilinear; scale: source pixels a target pixel. Positions beyond the ends repeat the last pixel."""
    top, y = _source(height, scale_y, images.shape[-2], images.device)
    left, x = _source(width, scale_x, images.shape[-1], images.device)
    bottom, right = (top + 1).clamp(max=images.shape[-2] - 1), (left + 1).clamp(max=images.shape[-1] - 1)
    rows = images[..., left] * (1 - x) + images[..., right] * x
    return rows[..., top, :] * (1 - y)[:, None] + rows[..., bottom, :] * y[:, None]


def _source(size: int, scale: float, available: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Left neighbour and fraction of every target pixel."""
    position = ((torch.arange(size, device=device, dtype=torch.float64) + 0.5) * scale - 0.5).float()
    first = position.floor()
    inside = (first >= 0) & (first < available - 1)
    return first.clamp(0, available - 1).long(), torch.where(inside, position - first, 0)


def pyramid(frames: Tensor, parameters: TVL1) -> list[Tensor]:
    """float32 [N, h, w] in 0..255 for every level, the full size first, of uint8 [N, H, W]."""
    (_, *sizes), step = level_sizes(frames.shape[-2], frames.shape[-1], parameters), 1 / parameters.scaleStep
    levels = [frames.float()]
    for height, width in sizes:
        levels.append(resize(levels[-1], height, width, step, step))
    return levels


def upsample(flow: Tensor, height: int, width: int, parameters: TVL1) -> Tensor:
    """Flow [2, N, h, w] of a level as the start of the next finer one, in its pixels."""
    scale_y, scale_x = flow.shape[-2] / height, flow.shape[-1] / width
    return resize(flow, height, width, scale_y, scale_x) * (1 / parameters.scaleStep)


def centred_gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centred differences in x and in y, the border repeated."""
    wide = torch.cat([images[..., :1], images, images[..., -1:]], -1)
    tall = torch.cat([images[..., :1, :], images, images[..., -1:, :]], -2)
    return 0.5 * (wide[..., 2:] - wide[..., :-2]), 0.5 * (tall[..., 2:, :] - tall[..., :-2, :])
