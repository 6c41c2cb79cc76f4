"""A public copy for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kinetics_pipeline.sources.archives import fetch as fetching
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, served


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackArchives]:
    monkeypatch.setattr(fetching, "WAIT", 0.01)
    with served() as server:
        yield server
