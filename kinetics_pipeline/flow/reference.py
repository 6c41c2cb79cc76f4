"""TV-L1 in plain PyTorch, on any device: the algorithm to read, and what the Triton kernels are tested against.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow" (DAGM 2007), with everything that OpenCV
5.0 adds or changes in modules/optflow/src/tvl1flow.cpp: bicubic warps with zeros outside, a median filter before every
outer round, dual variables that start at zero once a level, and a stop test after every iteration. A batch holds
many pairs; a pair that has stopped is left alone while the others go on.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinetics_pipeline.flow.images import centred_gradient, pyramid, upsample
from kinetics_pipeline.flow.parameters import TVL1

BATCH = 16
"""Pairs at once: about 0.3 GB at 256x340, most of it for the median."""
NO_GRADIENT = torch.finfo(torch.float32).eps
"""Squared gradients up to this are none (OpenCV)."""


def flow(grey: NDArray[np.uint8], parameters: TVL1) -> NDArray[np.float32]:
    """float32 [T-1, 2, H, W] in px, (u, v), of uint8 [T, H, W]; on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frames = torch.tensor(grey, device=device)
    parts = [solve(frames[a : a + BATCH + 1], parameters).cpu() for a in range(0, len(grey) - 1, BATCH)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def solve(frames: Tensor, parameters: TVL1) -> Tensor:
    """float32 [T-1, 2, H, W] of uint8 [T, H, W]."""
    levels = pyramid(frames, parameters)
    uv = torch.zeros(2, len(frames) - 1, *levels[-1].shape[1:], device=frames.device)
    for level in reversed(levels):
        if uv.shape[-2:] != level.shape[-2:]:
            uv = upsample(uv, level.shape[-2], level.shape[-1], parameters)
        uv = solve_level(level[:-1], level[1:], uv, parameters)
    return uv.transpose(0, 1)


def solve_level(first: Tensor, second: Tensor, uv: Tensor, parameters: TVL1) -> Tensor:
    """All warps of one level. first, second: [N, H, W]; uv: [2, N, H, W], returned improved."""
    p = parameters
    images = (second, *centred_gradient(second))
    dual = torch.zeros(2, 2, *first.shape, device=first.device)
    threshold = p.epsilon**2 * first[0].numel()
    for _ in range(p.warps):
        warped, ix, iy = (warp(image, uv) for image in images)
        rho = warped - ix * uv[0] - iy * uv[1] - first
        gradient = torch.stack([ix, iy])
        moving = torch.ones(len(first), dtype=torch.bool, device=first.device)
        for _ in range(p.outerIterations):
            uv = torch.where(moving[:, None, None], median(uv, p.medianFiltering), uv)
            for _ in range(p.innerIterations):
                new_uv, new_dual = iterate(uv, dual, gradient, rho, p)
                change = ((new_uv - uv) ** 2).sum((0, 2, 3))
                mask = moving[:, None, None]
                uv, dual = torch.where(mask, new_uv, uv), torch.where(mask, new_dual, dual)
                moving = moving & (change > threshold)
                if not moving.any():
                    break
            if not moving.any():
                break
    return uv


def iterate(uv: Tensor, dual: Tensor, gradient: Tensor, rho: Tensor, parameters: TVL1) -> tuple[Tensor, Tensor]:
    """One iteration: thresholding, flow, dual variables [2 components, 2 axes, N, H, W]."""
    p = parameters
    step = p.lambda_ * p.theta
    norm = (gradient**2).sum(0)
    residual = rho + (gradient * uv).sum(0)
    fi = torch.where(norm > NO_GRADIENT, -residual / norm, 0).clamp(-step, step)
    new_uv = uv + fi * gradient + p.theta * divergence(dual)
    slope = forward_gradient(new_uv)
    tau_over_theta = p.tau / p.theta
    length = (slope**2).sum(1, keepdim=True).sqrt()
    return new_uv, (dual + tau_over_theta * slope) / (1 + tau_over_theta * length)


def divergence(dual: Tensor) -> Tensor:
    """Backward differences of [2, 2, N, H, W], zero before the first pixel."""
    x, y = dual[:, 0], dual[:, 1]
    return torch.diff(x, dim=-1, prepend=torch.zeros_like(x[..., :1])) + torch.diff(
        y, dim=-2, prepend=torch.zeros_like(y[..., :1, :])
    )


def forward_gradient(uv: Tensor) -> Tensor:
    """Forward differences [2, 2, N, H, W], zero at the last pixel."""
    return torch.stack([torch.diff(uv, dim=-1, append=uv[..., -1:]), torch.diff(uv, dim=-2, append=uv[..., -1:, :])], 1)


def warp(images: Tensor, uv: Tensor) -> Tensor:
    """images [N, H, W] at (x + u, y + v): bicubic, A = -0.75, zero outside, as `cv2.remap`."""
    count, height, width = images.shape
    x = torch.arange(width, device=images.device) + uv[0]
    y = torch.arange(height, device=images.device)[:, None] + uv[1]
    left, top = x.floor(), y.floor()
    sampled = torch.zeros_like(images)
    for row, weight_y in zip(range(-1, 3), cubic_weights(y - top), strict=True):
        for column, weight_x in zip(range(-1, 3), cubic_weights(x - left), strict=True):
            tap_x, tap_y = left + column, top + row
            inside = (tap_x >= 0) & (tap_x < width) & (tap_y >= 0) & (tap_y < height)
            index = tap_y.clamp(0, height - 1).long() * width + tap_x.clamp(0, width - 1).long()
            values = images.reshape(count, -1).gather(1, index.reshape(count, -1)).reshape(images.shape)
            sampled += weight_x * weight_y * values * inside
    return sampled


def cubic_weights(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the taps at -1, 0, 1, 2 for a fraction t."""
    a = -0.75
    before, at = a * (t - 2 * t**2 + t**3), (a + 2) * t**3 - (a + 3) * t**2 + 1
    after = -(a + 2) * t**3 + (2 * a + 3) * t**2 - a * t
    return before, at, after, 1 - before - at - after


def median(uv: Tensor, side: int) -> Tensor:
    """Median of every side x side window of [2, N, H, W], the border repeated."""
    if side == 1:
        return uv
    margin = side // 2
    padded = torch.nn.functional.pad(uv, (margin,) * 4, mode="replicate")
    windows = padded.unfold(-2, side, 1).unfold(-2, side, 1)
    return windows.reshape(*uv.shape, side * side).median(-1).values
