"""A short campaign of faults against real builds comes to a good end, and finds what is planted."""

from __future__ import annotations

import pytest

pytest.importorskip("moto.server")

from kinetics_pipeline.workflows.benchmarks.chaos.__main__ import campaign

SEED = 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["writer killed, disk", "writer killed, S3"])
def test_a_writer_killed_at_its_writes_leaves_what_the_next_build_brings_to_its_end(fault: str) -> None:
    (played,) = campaign([0], SEED, [fault])
    assert played.problems == [], played.told
    assert played.injected > 10


@pytest.mark.parametrize(
    ("planted", "found"), [("marker first", "wrong"), ("clip dropped", "lost"), ("rows left", "stray")]
)
@pytest.mark.slow
def test_a_planted_fault_is_found(planted: str, found: str) -> None:
    (played,) = campaign([0], SEED, ["writer killed, disk"], planted=planted)
    assert any(problem.startswith(found) for problem in played.problems), played.problems
