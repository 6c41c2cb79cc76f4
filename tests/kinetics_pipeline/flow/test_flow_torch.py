"""The PyTorch reference against OpenCV and the CPU kernels."""

from __future__ import annotations

import numpy as np
import pytest

from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.workflows.benchmarks import scenes
from kinetics_pipeline.workflows.benchmarks.scenes import endpoint_error

FIXED = {"epsilon": 0.0, "innerIterations": 4, "outerIterations": 2, "warps": 3}
"""The same number of iterations everywhere: no stop test that the last bits could flip."""


@pytest.mark.parametrize("side", [1, 3, 5])
def test_the_reference_does_what_opencv_does_at_fixed_iterations(side: int) -> None:
    frames = scenes.rotation(2, 61, 83).frames
    flow = tvl1(frames, "torch", medianFiltering=side, **FIXED)
    assert endpoint_error(flow, tvl1(frames, "opencv", medianFiltering=side, **FIXED)) <= 1e-3
    assert endpoint_error(flow, tvl1(frames, "cpu", medianFiltering=side, **FIXED)) <= 1e-3


def test_the_reference_stops_every_pair_where_opencv_does() -> None:
    frames = scenes.clip(3, 48, 64)[[0, 1, 1, 2]]
    assert endpoint_error(tvl1(frames, "torch"), tvl1(frames, "opencv")) <= 0.02


def test_a_pair_of_the_reference_does_not_depend_on_its_batch() -> None:
    frames = scenes.clip(4, 40, 56)
    np.testing.assert_allclose(tvl1(frames, "torch")[1:2], tvl1(frames[1:3], "torch"), atol=1e-5)
