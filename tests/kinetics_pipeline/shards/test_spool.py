"""Finished clips on disk: whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinetics_pipeline.shards.spool import Spool
from tests.builders.clips import asked_clips, record_of

CLIP = asked_clips(1)[0]


def test_a_clip_comes_back_as_it_was_put(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").put(record_of(CLIP), b"rows")
    assert Spool(tmp_path / "spool").get(CLIP.clip_id) == (record_of(CLIP), b"rows")
    assert Spool(tmp_path / "spool").ids() == {CLIP.clip_id}


def test_a_clip_that_failed_is_kept_without_rows(tmp_path: Path) -> None:
    Spool(tmp_path).put(record_of(CLIP, "gone"), b"")
    assert Spool(tmp_path).get(CLIP.clip_id) == (record_of(CLIP, "gone"), b"")


@pytest.mark.parametrize("place", [0, 9, 13, 40, -1])
def test_a_damaged_file_counts_as_absent_and_is_removed(tmp_path: Path, place: int) -> None:
    spool = Spool(tmp_path)
    spool.put(record_of(CLIP), b"rows")
    data = bytearray(spool.path(CLIP.clip_id).read_bytes())
    data[place] ^= 1
    spool.path(CLIP.clip_id).write_bytes(data)
    assert spool.get(CLIP.clip_id) is None
    assert spool.ids() == set()


@pytest.mark.parametrize("length", [0, 10, 60])
def test_a_truncated_file_counts_as_absent(tmp_path: Path, length: int) -> None:
    spool = Spool(tmp_path)
    spool.put(record_of(CLIP), b"rows" * 100)
    data = spool.path(CLIP.clip_id).read_bytes()
    spool.path(CLIP.clip_id).write_bytes(data[:length])
    assert spool.get(CLIP.clip_id) is None


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 400, "a\0b"])
def test_an_id_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a clip id"):
        Spool(tmp_path).get(name)


def test_ids_that_differ_by_case_alone_have_files_that_differ_in_more(tmp_path: Path) -> None:
    lower, upper = Spool(tmp_path).path("abcDEF_-123"), Spool(tmp_path).path("ABCdef_-123")
    assert lower.name.lower() != upper.name.lower()


def test_clear_removes_clips_and_what_killed_writers_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(record_of(CLIP), b"rows")
    (tmp_path / ".x.clip.0123.tmp").write_bytes(b"half")
    spool.clear()
    assert list(tmp_path.iterdir()) == []
