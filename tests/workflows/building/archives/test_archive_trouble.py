"""Builds from copies that lack archives, answer oddly, or go away."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.plan import PlanSettings
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed
from kinetics_pipeline.workflows.building.archives.state import ArchiveState
from tests.builders.archive_builds import ArchiveBuild
from tests.builders.archive_copy import ARCHIVES, CLIPS, asked, clip, filled, member


def sizes(build: ArchiveBuild, title: str) -> list[int | None]:
    """The bytes of an archive's parts as the frozen list has them."""
    return next(one.sizes for one in ArchiveState(build.dataset.store).list.archives if one.title == title)


def test_an_archive_that_was_not_there_has_no_size_and_is_taken_once_it_is(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    whole = packed({member(n): random.Random(n).randbytes(20_000) for n in range(60, 65)})
    build = filled(copy, tmp_path, late=404, mended=whole[: len(whole) // 2])
    build.run()
    assert sizes(build, "late.tar.gz") == [None]
    copy.files["/k/late.tar.gz"] = packed({member(n): b"whole" for n in range(65, 70)})
    copy.files["/k/mended.tar.gz"] = whole
    before = len(copy.gets)
    build.run()
    assert asked(copy)[before:] == [], "what has an outcome is not looked for until that is asked"
    build.settings = PlanSettings(clips_per_shard=4, retry=frozenset({"not_found"}))
    build.max_disk = 2_680_000
    with pytest.raises(UserError, match="--max-disk is"):
        build.run()
    build.max_disk = None
    build.run()
    assert {outcome for outcome, _ in build.outcomes.values()} == {"ok"}
    assert sizes(build, "late.tar.gz") == [len(copy.files["/k/late.tar.gz"])]  # type: ignore[arg-type]
    assert {path for path, _ in copy.gets if "part" in path} == {f"/k/part_{n}.tar.gz" for n in range(ARCHIVES)}
    assert len([path for path, _ in copy.gets if "part" in path]) == ARCHIVES


def test_odd_servers_cost_their_own_archive_alone(copy: LoopbackArchives, tmp_path: Path) -> None:
    whole = packed({member(60): random.Random(60).randbytes(2000)})
    build = filled(
        copy, tmp_path, loop=b"-", ftp=b"-", nowhere=b"-", private=b"-", longer=whole, nested=packed({"x.tar": whole})
    )
    copy.redirects = {
        "/k/loop.tar.gz": "/k/loop.tar.gz",
        "/k/ftp.tar.gz": "ftp://127.0.0.1/x.tar",
        "/k/nowhere.tar.gz": "http://[::nowhere/x.tar",
        "/k/private.tar.gz": "http://169.254.1.1/x.tar",
    }
    copy.longer = {"/k/longer.tar.gz"}
    build.max_wait = 3600.0
    build.run()
    assert [build.outcomes[clip(n)][0] for n in range(CLIPS + 1)] == ["ok"] * CLIPS + ["not_found"]
    said = "\n".join(sorted(build.said))
    assert "ftp.tar.gz is given up: the server's redirects end nowhere (InvalidSchema)" in said
    assert "longer.tar.gz is given up: the connection breaks off at byte" in said
    assert "loop.tar.gz is given up: the server's redirects end nowhere (TooManyRedirects)" in said
    assert "nested.tar.gz holds no videos: 1 file, the first 'x.tar'; an archive within an archive is not read" in said
    assert "nowhere.tar.gz is given up: the server's redirects end nowhere" in said
    assert "private.tar.gz is given up: 169.254.1.1 is a private address; see --allow-private-addresses" in said


def test_a_mirror_that_is_down_ends_the_run_with_work_left(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path)
    seen = 0

    def down() -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            copy.down = True

    with pytest.raises(WorkRemains, match="server cannot be reached"):
        build.run(down)
    copy.down = False
    build.run()
    assert sum(outcome == "ok" for outcome, _ in build.outcomes.values()) == CLIPS
    assert len(asked(copy)) >= ARCHIVES


def test_a_copy_of_which_nothing_can_be_had_ends_the_build_without_an_outcome(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    build = filled(copy, tmp_path)
    for number in range(ARCHIVES):
        copy.files[f"/k/part_{number}.tar.gz"] = 403
    with pytest.raises(JobFailed, match="none of the archives could be had, and there is no other --source"):
        build.run()
    assert build.outcomes == {}


def test_archives_are_spread_over_the_nodes_and_one_that_goes_takes_no_clip_with_it(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    build = filled(copy, tmp_path)
    build.nodes = ("n0", "n1", "n2")
    executor = build.run()
    assert sorted(asked(copy)) == sorted(f"part_{n}.tar.gz" for n in range(ARCHIVES))
    assert {node for _, node in executor.made} == {"n0", "n1", "n2"}

    build.folder, copy.gets = tmp_path / "losing", []
    outcomes = build.run_losing("n1")
    assert sum(outcome == "ok" for outcome, _ in outcomes.values()) == CLIPS


def test_an_archive_whose_content_is_not_what_was_packed_is_named_and_fetched_once_more(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    damaged = bytearray(packed({member(60): b"whole" * 500}))
    damaged[-6] ^= 1
    build = filled(copy, tmp_path, bad=bytes(damaged))
    build.run()
    assert copy.asked("/k/bad.tar.gz") == [0, 0]
    (line,) = [line for line in build.said if "bad.tar.gz" in line]
    assert "is damaged: CRC check failed" in line
    assert build.outcomes[clip(60)][0] == "ok"
