"""A short campaign of faults against real builds comes to a good end, and finds what is planted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("moto.server")

from kinetics_pipeline.workflows.benchmarks.chaos.__main__ import FAULTS, table
from kinetics_pipeline.workflows.benchmarks.chaos.ground import Ground, ground
from kinetics_pipeline.workflows.benchmarks.chaos.rounds import play

pytestmark = pytest.mark.slow
SEED = 0
SHORT = ("writer killed, disk", "writer killed, S3", "hostile dataset", "driver frozen")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("chaos"), SEED, with_cluster=False) as found:
        yield found


@pytest.mark.parametrize("number", range(len(SHORT)), ids=SHORT)
def test_whatever_befalls_a_build_the_next_one_comes_to_the_same_end(shared: Ground, number: int) -> None:
    played = play(number, SEED, {name: FAULTS[name] for name in SHORT}, shared)
    assert played.problems == [], played.told
    assert played.injected > 0


@pytest.mark.parametrize(
    ("number", "planted", "found"), [(100, "marker first", "wrong"), (101, "clip dropped", "lost")]
)
def test_a_planted_fault_is_found_and_shown(shared: Ground, number: int, planted: str, found: str) -> None:
    name = "writer killed, disk"
    played = play(number, SEED, {name: FAULTS[name]}, shared, planted)
    assert any(problem.startswith(found) for problem in played.problems), played.problems
    cells = [list(column.cells) for column in table([played]).columns]
    assert cells[0] == [name]
    assert cells[6] == ["0 of 1"]
