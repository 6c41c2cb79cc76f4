"""TensorFlow's SAME padding, worked out from the size of each input, so that odd sizes come out right too.

An axis of n values with kernel k and stride s gives ceil(n / s) values; of the padding needed, the odd one
goes to the back (tensorflow.org, tf.nn, "Notes on padding").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding (front, back) of one axis of `size` values."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def same_paddings(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Padding of every axis after the first two of `x` [N, C, ...]."""
    return [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]


def pad(x: Tensor, paddings: Sequence[tuple[int, int]], value: float) -> Tensor:
    """`x` [N, C, ...] with each of its last axes padded by (front, back). F.pad counts from the last axis."""
    flat = [side for front_back in reversed(paddings) for side in front_back]
    return F.pad(x, flat, value=value)


def even_padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """`x`, and what a convolution has to pad on both sides of each axis: SAME padding by zeros together. `x` comes
    padded already where front and back differ."""
    paddings = same_paddings(x, kernel, stride)
    if any(front != back for front, back in paddings):
        return pad(x, paddings, 0.0), (0,) * len(paddings)
    return x, tuple(front for front, _ in paddings)


def convolve_same(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """`conv`, itself built without padding, with SAME padding by zeros.

    Even paddings are left to the convolution: a padded copy of the input costs memory and time.
    """
    x, sides = even_padding(x, conv.kernel_size, conv.stride)
    if isinstance(conv, nn.Conv2d):
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, sides)
    if x.shape[2] == 2 and sides[0] == 1 and _bf16_on_cpu(x):
        behind = pad(x, [(0, 1), (0, 0), (0, 0)], 0.0)
        return F.conv3d(behind, conv.weight, conv.bias, conv.stride, sides)[:, :, :2]
    return F.conv3d(x, conv.weight, conv.bias, conv.stride, sides)


def _bf16_on_cpu(x: Tensor) -> bool:
    """Whether a convolution of `x` runs in oneDNN's bf16, whose 3x3x3 weight gradient is garbage for clips of two
    frames (memory never written: another value each time, often inf; seen with torch 2.13 on a Zen 5, every size
    and layout; one frame and three are right). A third frame of zeros changes no value and goes round it."""
    return x.device.type == "cpu" and (torch.is_autocast_enabled("cpu") or x.dtype == torch.bfloat16)


def max_pool_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Max-pool of `x` [N, C, ...] with SAME padding by -inf, which never wins.

    In the precision of `x`: a CPU's autocast would make fp32 of bf16 before, and bf16 of fp32 after, which changes no
    value and takes a tenth of a training step.
    """
    paddings = same_paddings(x, kernel, stride)
    if _by_axes_is_faster(x, stride):
        return _max_pool_by_axes(x, kernel, stride)
    pool = F.max_pool3d if x.ndim == 5 else F.max_pool2d
    with torch.autocast("cpu", enabled=False):
        # One more value behind is what ceil_mode adds, without a padded copy; only where windows step by 2 or more.
        if all(b == f or (b == f + 1 and s > 1) for (f, b), s in zip(paddings, stride, strict=True)):
            return pool(x, tuple(kernel), tuple(stride), tuple(front for front, _ in paddings), ceil_mode=True)
        return pool(pad(x, paddings, -torch.inf), tuple(kernel), tuple(stride))


def _by_axes_is_faster(x: Tensor, stride: Sequence[int]) -> bool:
    """torch's max-pool over three axes takes one value at a time on a CPU, a third of I3D's forward pass; that over two
    takes vectors where channels lie last. Not for training: the gradient of equal values would go elsewhere."""
    return (
        x.ndim == 5
        and x.device.type == "cpu"
        and not (torch.is_grad_enabled() and x.requires_grad)
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )


def _max_pool_by_axes(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """`max_pool_same` of `x` [N, C, T, H, W] whose channels lie last: over places, then over time; the same values."""
    count, channels, frames, height, width = x.shape
    pictures = x.movedim(2, 1).reshape(count * frames, channels, height, width)
    places = max_pool_same(pictures, kernel[1:], stride[1:])
    placed = places.reshape(count, frames, *places.shape[1:])
    front, _ = same_padding(frames, kernel[0], stride[0])
    found = placed[:, :: stride[0]]  # the value in each window that is always there
    if kernel[0] > 1:
        found = found.clone()
    for offset in (number - front for number in range(kernel[0]) if number != front):
        first = max(0, -(offset // stride[0]))
        last = min(found.shape[1] - 1, (frames - 1 - offset) // stride[0])
        if first <= last:
            begin, end = first * stride[0] + offset, last * stride[0] + offset + 1
            inside = found[:, first : last + 1]
            torch.maximum(inside, placed[:, begin : end : stride[0]], out=inside)
    return found.movedim(1, 2)
