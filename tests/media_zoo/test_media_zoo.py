"""Every file of the zoo is read right, or refused with the reason: whole, cut, in shards, segments and exports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.media_zoo.checking import CHECKS, Found, check
from tests.media_zoo.exporting import check_exports
from tests.media_zoo.files import ZOO

GROUPS = 4
"""So that the tests' processes share the files."""


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_file_that_people_have_reported_is_read_right_or_refused(group: int, tmp_path: Path) -> None:
    found: list[Found] = [check(entry, tmp_path) for entry in ZOO[group::GROUPS]]
    check_exports(found, tmp_path)
    wrong = {one.entry.name: one.wrong() for one in found if one.wrong()}
    assert not wrong
    made = [one for one in found if not one.outcome.startswith("not made") and one.entry.refused is None]
    assert {name for one in made for name in CHECKS if getattr(one, name) is None} <= {"second_decoder"}


def test_the_zoo_is_large_and_every_entry_names_a_report() -> None:
    assert len(ZOO) >= 60
    assert len({entry.name for entry in ZOO}) == len(ZOO)
    for entry in ZOO:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", entry.report), entry.name
