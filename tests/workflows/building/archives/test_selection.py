"""Which clips an archive holds is found by its names alone, however they are written, and for many clips soon."""

from __future__ import annotations

from pathlib import Path

from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.local.tars import Archive, ArchiveSource
from kinetics_pipeline.workflows.building.archives.selection import Failed, Selection


def clip(video: str, start: float | None, end: float | None, path: str | None = None) -> Clip:
    return Clip(clip_id(video, start, end), video, start, end, "a", "train", path)


CLIPS = [
    clip("abc_def-_12", 1, 11),
    clip("abc_def-_12", 20, 30),
    clip("whole", 0, 10),
    clip("three", 0.5, 10.25),
    clip("é", 1, 11),
    clip("odd", 0, 10),
    clip("v_7_8", None, None),
    clip("path", 0, 10, "some/where/else.avi"),
    clip("absent", 0, 10),
]
NAMES = [
    "x/abc_def-_12_000001_000011.mp4",
    "whole.webm",
    "three_000000.500_000010.250.mkv",
    "e\u0301_000001_000011.mp4",
    "odd_000000_000010.part2",
    "v_7_8.mp4",
    "where/else.mp4",
    "nobody_000001_000011.mp4",
]


def selection(limit: int | None = None, **failed: Failed) -> Selection:
    clips = {one.clip_id: one for one in CLIPS}
    return Selection(clips, limit, set(), dict(failed), frozenset({"network"}), first_plan=5, other_sources=True)


def archive(names: list[str]) -> Archive:
    return Archive((Path("x.tar"),), 0, tuple((name, 0, 1) for name in names), "", "tar", None)


def test_what_an_archive_holds_is_what_its_source_has_files_for() -> None:
    chosen = selection()
    chosen.learn({"k": archive(NAMES)})
    source = ArchiveSource("s", [archive(NAMES)])
    expected = [one.clip_id for one in CLIPS if source.candidates(one)]
    assert chosen.take("k") == expected
    assert len(expected) >= 6
    assert "absent_000000_000010" not in expected


def test_a_clip_that_failed_is_open_to_later_groups_and_to_the_last_plan_and_again_where_that_is_asked() -> None:
    names = [one.clip_id for one in CLIPS]
    chosen = selection(
        **{
            names[0]: Failed("decode", "", 2, 3),
            names[1]: Failed("network", "", 2, None),
            names[2]: Failed("network", "", 6, None),
            names[3]: Failed("decode", "", 2, None),
        }
    )
    assert [chosen.is_open(names[0], group) for group in (2, 3, 4, None)] == [False, False, True, True]
    assert chosen.is_open(names[1], 0)  # it is to be tried again
    assert not chosen.is_open(names[2], 0)  # it was tried again by this run
    assert not chosen.is_open(names[3], None)
    chosen.other_sources = False
    assert not chosen.is_open(names[0], None)


def test_a_limit_asks_for_one_archive_until_it_is_known_how_many_clips_one_holds() -> None:
    chosen = selection(limit=6)
    assert chosen.ahead() == 1
    chosen.learn({"k": archive(NAMES[:2])})
    assert (len(chosen.take("k")), chosen.ahead(), chosen.is_full) == (2, 2, False)
    chosen.learn({"l": archive(NAMES[2:])})
    assert (len(chosen.take("l")), chosen.is_full) == (4, True)
    assert selection().ahead() is None
