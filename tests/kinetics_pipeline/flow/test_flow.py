"""TV-L1 on the CPU against OpenCV's, against motions known exactly, and at the edges of what it accepts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import TVL1, cpu, quantised_tvl1, tvl1
from kinetics_pipeline.flow.quantised import quantise_flow, quantise_on_device
from kinetics_pipeline.workflows.benchmarks import scenes
from kinetics_pipeline.workflows.benchmarks.scenes import Scene, endpoint_error


@pytest.fixture(scope="module")
def crossing() -> NDArray[np.uint8]:
    return scenes.clip(5, 96, 128)


@pytest.mark.parametrize("scene", scenes.analytic_scenes(), ids=lambda scene: scene.name)
def test_known_motion_is_found_at_least_as_well_as_by_opencv(scene: Scene) -> None:
    opencv = scene.error(tvl1(scene.frames, "opencv")[0])
    assert scene.error(tvl1(scene.frames, "cpu")[0]) <= 1.05 * opencv
    assert opencv < 0.2, "the yardstick itself fails"


@pytest.mark.parametrize("scene", scenes.analytic_scenes(), ids=lambda scene: scene.name)
def test_flow_of_textures_is_opencvs(scene: Scene) -> None:
    assert endpoint_error(tvl1(scene.frames, "cpu"), tvl1(scene.frames, "opencv")) <= 0.05


def test_flow_of_a_clip_with_occlusions_is_opencvs(crossing: NDArray[np.uint8]) -> None:
    assert endpoint_error(tvl1(crossing, "cpu"), tvl1(crossing, "opencv")) <= 0.02


@pytest.mark.parametrize(
    "parameters",
    [
        {"medianFiltering": 3},
        {"medianFiltering": 1},
        {"tau": 0.15},
        {"lambda": 0.1},
        {"theta": 0.2},
        {"nscales": 2},
        {"scaleStep": 0.5},
        {"warps": 2},
        {"innerIterations": 2},
        {"outerIterations": 1},
    ],
    ids=str,
)
def test_every_parameter_means_what_it_means_to_opencv(parameters: dict[str, float]) -> None:
    frames = scenes.rotation(2, 96, 128).frames
    fixed = {"epsilon": 0.0, "innerIterations": 4, "outerIterations": 2}
    changed = tvl1(frames, "cpu", **{**fixed, **parameters})
    assert endpoint_error(changed, tvl1(frames, "opencv", **{**fixed, **parameters})) <= 1e-3
    assert endpoint_error(changed, tvl1(frames, "cpu", **fixed)) > 2e-3, "the parameter changes nothing"


@pytest.mark.parametrize("size", [(3, 3), (5, 40), (15, 15), (16, 17), (33, 31), (17, 300), (64, 8)], ids=str)
def test_sizes_that_fit_no_vector_or_level_are_opencvs(size: tuple[int, int]) -> None:
    frames = scenes.clip(2, *size)
    fixed = {"epsilon": 0.0, "innerIterations": 5, "outerIterations": 2}
    assert endpoint_error(tvl1(frames, "cpu", **fixed), tvl1(frames, "opencv", **fixed)) <= 1e-3


def test_the_bytes_do_not_depend_on_the_number_of_threads(crossing: NDArray[np.uint8]) -> None:
    one = cpu.flow(crossing, TVL1(), threads=1)
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(cpu.flow(crossing, TVL1(), threads=threads), one)


def test_a_pair_does_not_depend_on_its_neighbours(crossing: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(tvl1(crossing, "cpu")[2:3], tvl1(crossing[2:4], "cpu"))


def test_identical_frames_have_zero_flow(crossing: NDArray[np.uint8]) -> None:
    assert not tvl1(np.stack([crossing[0]] * 3), "cpu").any()


@pytest.mark.parametrize("order", [[0, 0, 1, 1, 1, 2], [0, 1, 2, 2], [0, 0, 1, 0, 0]], ids=str)
def test_frames_that_repeat_change_nothing_for_the_other_pairs(crossing: NDArray[np.uint8], order: list[int]) -> None:
    found = tvl1(crossing[order], "cpu")
    np.testing.assert_array_equal(quantised_tvl1(crossing[order], "cpu"), quantise_flow(found))
    for flow, before, after in zip(found, order[:-1], order[1:], strict=True):
        expected = cpu.flow(crossing[[before, after]], TVL1())[0]
        np.testing.assert_array_equal(flow, expected)
    assert sum(flow.any() for flow in found) == sum(a != b for a, b in itertools.pairwise(order))


def test_rgb_is_made_grey_as_opencv_does(crossing: NDArray[np.uint8]) -> None:
    cv2 = pytest.importorskip("cv2")
    rgb = np.stack([crossing[:2], 255 - crossing[1:3], crossing[2:4]], -1)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb])
    np.testing.assert_array_equal(tvl1(rgb, "cpu"), tvl1(grey, "cpu"))


def test_memory_order_and_write_protection_do_not_matter(crossing: NDArray[np.uint8]) -> None:
    expected = tvl1(crossing[::2, ::-1, 3:90], "cpu")
    contiguous = np.ascontiguousarray(crossing[::2, ::-1, 3:90])
    contiguous.setflags(write=False)
    np.testing.assert_array_equal(tvl1(contiguous, "cpu"), expected)
    np.testing.assert_array_equal(tvl1(np.asfortranarray(contiguous), "cpu"), expected)


def test_the_result_has_one_flow_less_than_frames_u_before_v() -> None:
    scene = scenes.shift(1.5, -0.75, 48, 64)
    flow = tvl1(scene.frames, "cpu")
    assert (flow.shape, flow.dtype) == ((1, 2, 48, 64), np.float32)
    assert np.median(flow[0, 0]) == pytest.approx(1.5, abs=0.1)
    assert np.median(flow[0, 1]) == pytest.approx(-0.75, abs=0.1)


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        (np.zeros((1, 20, 20), np.uint8), "1 frame;"),
        (np.zeros((0, 20, 20), np.uint8), "0 frames;"),
        (np.zeros((2, 20, 20), np.float32), "float32"),
        (np.zeros((20, 20), np.uint8), "(20, 20)"),
        (np.zeros((2, 20, 20, 4), np.uint8), "(2, 20, 20, 4)"),
        (np.zeros((2, 2, 20), np.uint8), "20x2 px"),
        ([[1, 2], [3, 4]], "list"),
    ],
    ids=str,
)
def test_what_is_not_frames_is_refused_by_name(frames: NDArray[np.uint8], named: str) -> None:
    with pytest.raises(UserError) as refused:
        tvl1(frames, "cpu")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("backend", ["cpu", "torch", "opencv"])
def test_flow_in_8_bits_has_the_bits_of_quantised_floats(crossing: NDArray[np.uint8], backend: str) -> None:
    few = {"warps": 1, "outerIterations": 1}
    floats = tvl1(crossing, backend, **few)
    np.testing.assert_array_equal(quantised_tvl1(crossing, backend, **few), quantise_flow(floats))


def test_a_device_quantises_to_the_same_bits() -> None:
    halves = (np.arange(-5100, 5100, dtype=np.float32) / 2) * np.float32(20 / 127)  # as many ties as there are
    near = np.nextafter(halves, np.float32(np.inf), dtype=np.float32)
    for values in (halves, near, np.random.default_rng(0).normal(0, 9, 100_000).astype(np.float32)):
        on_device = quantise_on_device(torch.from_numpy(values)).numpy()
        np.testing.assert_array_equal(on_device, quantise_flow(values))
    with pytest.raises(ValueError, match="not finite"):
        quantise_on_device(torch.tensor([float("nan")]))
