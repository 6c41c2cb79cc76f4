"""The machine code of the CPU kernels: kept on disk, by many processes at once, or done without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib, numpy, kinetics_pipeline
from kinetics_pipeline.flow import tvl1
frames = numpy.random.default_rng(0).integers(0, 255, (2, 20, 24), numpy.uint8)
flow = tvl1(frames, "cpu", warps=1, nscales=1)
from kinetics_pipeline.flow.cpu.compiled import solve_pairs
stats = getattr(solve_pairs, "stats", None)
print(hashlib.sha256(flow.tobytes()).hexdigest(), sum(stats.cache_hits.values()) if stats else 0)
"""


def _start(code: str, directory: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_OPT": "1", **environment},  # compiled sooner
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
    )


def _finish(process: subprocess.Popen[str]) -> tuple[str, int]:
    out, err = process.communicate(timeout=800)
    assert process.returncode == 0, err
    digest, hits = out.split()
    return digest, int(hits)


@pytest.mark.slow
def test_processes_that_start_together_on_an_empty_cache_agree_and_leave_it_usable(tmp_path: Path) -> None:
    together = [_start(PROGRAM, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2)]
    digests = {_finish(process)[0] for process in together}
    later, hits = _finish(_start(PROGRAM, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")))
    assert digests == {later}
    assert hits == 1, "the next process compiled again"


@pytest.mark.slow
def test_flow_works_where_nothing_can_be_written(tmp_path: Path) -> None:
    """No cache directory, no home, and a source tree that cannot be written (a file in the place of each)."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    source = tmp_path / "source"
    shutil.copytree(
        Path(__file__).parents[3] / "kinetics_pipeline",
        source / "kinetics_pipeline",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (source / "kinetics_pipeline/flow/cpu/__pycache__").write_text("")
    environment = {
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(blocked),
        "XDG_CACHE_HOME": str(blocked),
        "NUMBA_CACHE_DIR": str(blocked / "cache"),
    }
    code = f"import kinetics_pipeline; assert kinetics_pipeline.__file__.startswith({str(source)!r})\n{PROGRAM}"
    assert _finish(_start(code, source, **environment))[1] == 0
