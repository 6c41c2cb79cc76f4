"""The GPU kernels without a GPU: run by Triton's interpreter.

`TRITON_INTERPRET` counts when the kernels are imported, so the interpreter has a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.workflows.benchmarks import scenes
from kinetics_pipeline.workflows.benchmarks.scenes import endpoint_error

pytest.importorskip("triton")

FIXED = {"epsilon": 0.0, "innerIterations": 2, "outerIterations": 2, "warps": 1, "nscales": 1}
FREE = {"warps": 1, "nscales": 1, "outerIterations": 2, "innerIterations": 4, "epsilon": 0.15}
PROGRAM = """
import sys
import numpy, torch
from kinetics_pipeline.flow import TVL1, cuda, tvl1
from kinetics_pipeline.flow.cuda import solver
from kinetics_pipeline.flow.cuda.tiling import Tiling
frames = numpy.load("frames.npy")
fixed, free = eval(sys.argv[1]), eval(sys.argv[2])
results = {f"fixed{side}": tvl1(frames, "cuda", medianFiltering=side, **fixed) for side in (5, 3, 1)}
results["free"] = tvl1(frames, "cuda", **free)

solve = cuda.solve
def small_memory(batch, first_frames, parameters):
    if len(first_frames) > 1:
        raise torch.cuda.OutOfMemoryError("no memory for two pairs")
    return solve(batch, first_frames, parameters)
cuda.solve = small_memory
results["halved"] = tvl1(frames, "cuda", **free)
cuda.solve = solve
results["first"], results["second"] = cuda.flow_of_clips([frames[:2], frames[1:]], TVL1(**free))

batch, first_frames = torch.tensor(frames), torch.arange(len(frames) - 1, dtype=torch.int32)
for height, width in ((16, 16), (32, 32)):
    form = Tiling(height, width)
    results[f"form{height}x{width}"] = solver.solve(batch, first_frames, TVL1(**free), tiling=form).numpy()
numpy.savez("results.npz", **results)
"""


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """A moving pair, then an unmoving one, in more than one tile."""
    moving = scenes.shift(1.5, -0.75, 18, 30).frames
    return np.concatenate([moving, moving[1:]])


@pytest.fixture(scope="module")
def interpreted(frames: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.float32]]:
    directory: Path = tmp_path_factory.mktemp("triton")
    np.save(directory / "frames.npy", frames)
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, repr(FIXED), repr(FREE)]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(np.load(directory / "results.npz"))


@pytest.mark.parametrize("side", [5, 3, 1])
def test_kernels_do_what_the_reference_does_at_fixed_iterations(
    frames: NDArray[np.uint8], interpreted: dict[str, NDArray[np.float32]], side: int
) -> None:
    for backend in ("torch", "cpu"):
        expected = tvl1(frames, backend, medianFiltering=side, **FIXED)
        assert endpoint_error(interpreted[f"fixed{side}"], expected) <= 1e-3


def test_kernels_stop_every_pair_where_the_reference_does(
    frames: NDArray[np.uint8], interpreted: dict[str, NDArray[np.float32]]
) -> None:
    expected = tvl1(frames, "torch", **FREE)
    unstopped = tvl1(frames, "torch", **{**FREE, "epsilon": 0.0})
    assert endpoint_error(unstopped, expected) > 0.01, "nothing stops early here"
    assert endpoint_error(interpreted["free"], expected) <= 1e-3


def test_a_batch_that_exceeds_the_memory_is_halved_and_gives_the_same(
    interpreted: dict[str, NDArray[np.float32]],
) -> None:
    np.testing.assert_array_equal(interpreted["halved"], interpreted["free"])


def test_clips_in_one_batch_get_the_flow_they_get_alone(interpreted: dict[str, NDArray[np.float32]]) -> None:
    np.testing.assert_array_equal(interpreted["first"], interpreted["free"][:1])
    np.testing.assert_array_equal(interpreted["second"], interpreted["free"][1:])


def test_every_form_of_the_kernels_stops_every_pair_at_the_same_iteration(
    interpreted: dict[str, NDArray[np.float32]],
) -> None:
    forms = [name for name in interpreted if name.startswith("form")]
    assert len(forms) == 2
    for name in forms:
        np.testing.assert_array_equal(interpreted[name], interpreted["free"], err_msg=name)
