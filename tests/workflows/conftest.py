"""What the tests of builds share: the videos, a server of them, and the builds that nothing disturbed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders.building import Build, Pile, make_pile
from tests.builders.clusters import Cluster, several_nodes
from tests.builders.far_places import FAR_PLACES
from tests.builders.staying_driver import StayingDriver, staying_driver
from tests.fake_youtube import FileServer


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is made once a run, whichever of its processes needs it first."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@contextmanager
def _alone(shared: Path, name: str) -> Iterator[Path]:
    """A folder in `shared`, for one process at a time."""
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder := shared / name).mkdir(exist_ok=True)
        yield folder


@pytest.fixture(scope="session")
def pile(shared: Path) -> Pile:
    with _alone(shared, "pile") as folder:
        return make_pile(folder)


@pytest.fixture
def server(pile: Pile) -> Iterator[FileServer]:
    with FileServer(pile.folder) as server:
        yield server


@pytest.fixture(scope="session")
def undisturbed(pile: Pile, shared: Path, request: pytest.FixtureRequest) -> Build:
    with _alone(shared, "undisturbed") as folder, FileServer(pile.folder) as server:
        build = Build(pile, folder, [server.template])
        if not build.output.exists():
            build.run(request.getfixturevalue("driver"))
    return build


@pytest.fixture(scope="session")
def node() -> Iterator[Cluster]:
    with several_nodes(0, variables=FAR_PLACES) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def driver(node: Cluster) -> Iterator[StayingDriver]:
    with staying_driver(node.environment) as driver:
        yield driver


@pytest.fixture
def on_one_cluster(node: Cluster, driver: StayingDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds that end no process of the cluster share one, whose start takes longer than what most of them do."""
    monkeypatch.setattr(Build, "cluster", node.environment)
    monkeypatch.setattr(Build, "driver", driver)
