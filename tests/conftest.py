"""What all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests import their own helpers: `from videos import render`

from videos import Videos


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    """Tiny videos, each rendered once a session; tests read them and never write to them."""
    return Videos(tmp_path_factory.mktemp("videos"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: what is packed holds the time, and every process must give a test one name."""
    return argname if isinstance(val, bytes) else None
