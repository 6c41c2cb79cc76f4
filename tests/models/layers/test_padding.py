"""SAME padding against TensorFlow's own definition, written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinetics_pipeline.models.layers.padding import convolve_same, max_pool_same

sizes = st.tuples(*[st.integers(1, 9)] * 3)
kernels = st.tuples(*[st.integers(1, 4)] * 3)
strides = st.tuples(*[st.integers(1, 3)] * 3)


def windows(size: int, kernel: int, stride: int) -> list[list[int]]:
    """Input indices of each output (tf.nn.convolution: out[i] = in[i * stride + k - front]), those outside left out."""
    out = math.ceil(size / stride)
    total = max((out - 1) * stride + kernel - size, 0)
    front = total // 2
    return [[i * stride + k - front for k in range(kernel)] for i in range(out)]


@settings(max_examples=60, deadline=None)
@given(sizes, kernels, strides)
def test_a_pool_takes_the_largest_of_each_window_of_tensorflow(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).standard_normal(size) - 5  # below zero, so that padding by zeros would show
    per_axis = [windows(n, k, s) for n, k, s in zip(size, kernel, stride, strict=True)]
    expected = np.empty([len(axis) for axis in per_axis])
    for at in itertools.product(*(range(len(axis)) for axis in per_axis)):
        inside = [[i for i in axis[j] if 0 <= i < n] for axis, j, n in zip(per_axis, at, size, strict=True)]
        expected[at] = x[np.ix_(*inside)].max()
    found = max_pool_same(torch.from_numpy(x)[None, None], kernel, stride)[0, 0].numpy()
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(sizes, kernels, strides)
def test_a_convolution_sums_each_window_of_tensorflow(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(size), rng.standard_normal(kernel)
    conv = nn.Conv3d(1, 1, kernel, stride, bias=False, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(w)[None, None])
    per_axis = [windows(n, k, s) for n, k, s in zip(size, kernel, stride, strict=True)]
    expected = np.zeros([len(axis) for axis in per_axis])
    for at in itertools.product(*(range(len(axis)) for axis in per_axis)):
        for tap in itertools.product(*(range(k) for k in kernel)):
            source = tuple(axis[j][k] for axis, j, k in zip(per_axis, at, tap, strict=True))
            if all(0 <= i < n for i, n in zip(source, size, strict=True)):
                expected[at] += x[source] * w[tap]
    found = convolve_same(conv, torch.from_numpy(x)[None, None])[0, 0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_pool_of_bf16_stays_in_bf16_under_autocast() -> None:
    x = torch.randn(1, 4, 5, 7, 7).bfloat16()
    for kernel, stride in (((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((1, 3, 3), (1, 2, 2))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = max_pool_same(x, kernel, stride)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found.float(), max_pool_same(x.float(), kernel, stride))


def test_the_bf16_gradient_of_two_frames_is_near_that_of_fp32() -> None:
    """oneDNN's own is garbage there, another at each call."""
    torch.manual_seed(0)
    conv = nn.Conv3d(48, 128, 3, bias=False)
    x = torch.randn(2, 48, 2, 4, 4)
    gradients = []
    for bf16 in (False, True, True, True):
        conv.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = convolve_same(conv, x)
        assert out.shape == (2, 128, 2, 4, 4)
        out.float().square().sum().backward()
        gradients.append(conv.weight.grad.clone())
    for found in gradients[1:]:
        assert (found - gradients[0]).norm() < 0.02 * gradients[0].norm()
