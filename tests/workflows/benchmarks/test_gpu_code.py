"""The CUDA kernels, compiled for GPUs that are not here, need what the kept table says."""

from __future__ import annotations

import json
import os
import warnings

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels are interpreted", allow_module_level=True)

import triton

from kinetics_pipeline.flow.cuda.tiling import TILINGS, Tiling, tiling_for
from kinetics_pipeline.workflows.benchmarks import gpu_code

KEPT = json.loads(gpu_code.KEPT.read_text())


@pytest.mark.parametrize("capability", gpu_code.MULTIPROCESSORS, ids=lambda pair: f"{pair[0]}.{pair[1]}")
def test_every_kernel_compiles_without_spilling_and_as_many_programs_fit_as_the_table_says(
    capability: tuple[int, int],
) -> None:
    found = {name: code for name, _, code in gpu_code.table((capability,))}
    assert set(found) == set(KEPT["kernels"]), "the table is another version's: gpu_code --write"
    for name, code in found.items():
        kept = gpu_code.Code(**KEPT["kernels"][name][".".join(map(str, capability))])
        assert code.spilled == 0, name
        assert code.programs * code.warps > kept.programs * kept.warps / 2, f"{name}: {code}, the table has {kept}"
        if triton.__version__ == KEPT["triton"]:
            assert code == kept, f"{name}: better or worse, say so: gpu_code --write"
        elif code != kept:
            warnings.warn(f"{name} {capability} by Triton {triton.__version__}: {code}; {kept}", stacklevel=1)


def test_the_solver_launches_no_other_kernel() -> None:
    titles = {launch.title for launch in gpu_code.launches(Tiling())}
    assert titles == {"warp", "iterate", "median 5x5", "median 3x3", "take_filtered", "list_live"}


def test_programs_of_an_sm_follow_from_what_runs_out_first() -> None:
    """By hand: 64 registers x 512 threads are half of 65,536; 66 take 72 (256 a warp), of which two do not fit."""
    assert gpu_code.fitted(64, 0, 64, 16, (9, 0)).programs == 2
    assert gpu_code.fitted(66, 0, 64, 16, (9, 0)).programs == 1
    assert gpu_code.fitted(32, 0, 0, 4, (9, 0)).programs == 16, "64 warps"
    assert gpu_code.fitted(16, 0, 0, 1, (8, 6)).programs == 16, "programs"
    assert gpu_code.fitted(16, 0, 100 * 1024 - 1024, 1, (8, 6)).programs == 1, "shared memory"


def test_a_gpu_without_a_row_takes_that_of_the_next_older_capability() -> None:
    assert tiling_for((9, 0)) == TILINGS[9, 0]
    assert tiling_for((10, 3)) == TILINGS[10, 0]
    assert tiling_for((7, 5)) == TILINGS[8, 0]
    assert set(TILINGS) == set(gpu_code.MULTIPROCESSORS)
