"""What the tests of builds share: the videos, a server of them, and the builds that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from building import Build, Pile, make_pile
from fake_youtube import FileServer


@pytest.fixture(scope="session")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Pile:
    return make_pile(tmp_path_factory.mktemp("pile"))


@pytest.fixture
def server(pile: Pile) -> Iterator[FileServer]:
    with FileServer(pile.folder) as server:
        yield server


@pytest.fixture(scope="session")
def undisturbed(pile: Pile, tmp_path_factory: pytest.TempPathFactory) -> Build:
    with FileServer(pile.folder) as server:
        build = Build(pile, tmp_path_factory.mktemp("undisturbed"), [server.template])
        build.run()
    return build
