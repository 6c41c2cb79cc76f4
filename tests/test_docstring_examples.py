"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _with_examples() -> list[str]:
    files = [file for folder in ("kinetics_pipeline", "models", "workflows") for file in (ROOT / folder).rglob("*.py")]
    parts = {
        file.resolve().relative_to(ROOT).with_suffix("").parts
        for file in files
        if "    >>> " in file.read_text("utf-8")
    }
    return sorted(".".join(one if one[0] == "kinetics_pipeline" else ("kinetics_pipeline", *one)) for one in parts)


@pytest.mark.parametrize("module", _with_examples())
def test_examples_in_docstrings_give_what_they_say(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed
