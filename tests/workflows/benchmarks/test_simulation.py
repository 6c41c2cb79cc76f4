"""The shipped driver, lease and commit under simulated trouble, and that planted faults are found."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kinetics_pipeline.workflows.benchmarks.simulate import campaign

AGAIN = """
from kinetics_pipeline.workflows.benchmarks.simulation.scenario import play
print(play(3).trace)
"""


def test_simulated_builds_come_to_a_good_end_whatever_befalls_them():
    result = campaign(seed=0, seconds=60)
    assert result.failed_seed is None, f"seed {result.failed_seed}: {result.failure}"
    assert result.runs > 5
    assert result.kills > 0
    assert {"done", "LeaseHeld", "killed"} <= result.endings.keys()


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("old lease", "lease"),
        ("marker first", "is committed, and"),
        ("lost forget", "was confirmed, and is lost"),
        ("stale writer", "was overwritten"),
    ],
)
def test_a_planted_fault_is_found_within_a_minute(planted, found):
    result = campaign(seed=0, seconds=60, planted=planted)
    assert result.failed_seed is not None
    assert found in result.failure


def test_a_seed_plays_the_same_run_in_every_process():
    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ran = subprocess.run([sys.executable, "-c", AGAIN], env=environment, capture_output=True, text=True, check=True)
        return ran.stdout

    assert trace("1") == trace("2") != ""
