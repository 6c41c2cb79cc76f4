"""The flow benchmarks and the GPU check, as far as a machine without a GPU can run them."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.workflows.benchmarks.flow_reference import FILE
from kinetics_pipeline.workflows.benchmarks.scenes import endpoint_error, shift


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(_has_driver(), reason="there is an NVIDIA driver")
def test_the_gpu_check_says_in_one_line_that_there_is_no_gpu_and_imports_nothing_heavy() -> None:
    heavy = "ray pandas pyarrow cv2 cyclopts torch numba"
    code = (
        "import sys; from kinetics_pipeline.workflows.benchmarks.gpu_check import main; code = main(); "
        f"assert not set({heavy.split()!r}) & set(sys.modules), 'heavy imports'; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "there is no NVIDIA driver" in done.stdout


def test_the_stored_reference_flow_is_what_opencv_computes() -> None:
    stored = np.load(FILE)
    names = [key.removesuffix("_frames") for key in stored if key.endswith("_frames")]
    assert len(names) >= 5
    for name in names:
        flow = tvl1(stored[f"{name}_frames"], "opencv")[0]
        assert endpoint_error(stored[f"{name}_flow"].astype(np.float32), flow) <= 2e-3, name
    assert FILE.stat().st_size < 300_000


def test_a_moved_texture_is_the_texture_at_the_moved_place() -> None:
    scene = shift(3, -2, 40, 50)
    np.testing.assert_array_equal(scene.frames[1, :-2, 3:], scene.frames[0, 2:, :-3])
    assert (scene.truth[0] == 3).all()
    assert (scene.truth[1] == -2).all()
