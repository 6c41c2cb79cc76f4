"""Builds from archives: groups that are plans, a bounded cache, and every clip with the outcome that its archive gives.

Archives are fetched for real from a copy on loopback; Ray and frames are left out (`tests.builders.archive_builds`).
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.repair import take_out
from kinetics_pipeline.dataset.verify import verify as look
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.plan import PlanSettings
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed, zipped
from kinetics_pipeline.workflows.building.archives.state import ArchiveState
from tests.builders.archive_builds import ArchiveBuild, Killed
from tests.builders.archive_copy import ARCHIVES, CLIPS, asked, clip, filled, member


def held_at_most(copy: LoopbackArchives) -> int:
    """The largest number of bytes that two groups of three archives have."""
    sizes = sorted(len(data) for path, data in copy.files.items() if path.endswith("gz") and isinstance(data, bytes))
    return sum(sizes[-6:]) + 6 * 40_000  # and notes of what lies where


def test_each_archive_is_fetched_once_and_two_groups_are_the_most_that_is_held(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    build = filled(copy, tmp_path)
    executor = build.run()
    assert sorted(asked(copy)) == sorted(f"part_{n}.tar.gz" for n in range(ARCHIVES))
    assert {clip_id: outcome for clip_id, (outcome, _) in build.outcomes.items()} == {
        clip(n): "ok" if n < CLIPS else "not_found" for n in range(CLIPS + 10)
    }
    assert executor.peak <= held_at_most(copy)
    assert executor.starts == 1, "processes start while the first archives are on their way"
    plans = [build.dataset.plan(number) for number in build.dataset.plan_numbers()]
    assert [plan.archive_group for plan in plans] == [0, 1, 2, 3, None]
    assert [len(plan) for plan in plans] == [15, 15, 15, 15, 10]
    before = len(copy.gets)
    assert build.run().starts == 0
    assert asked(copy)[before:] == []
    assert len(build.dataset.plan_numbers()) == 5


def test_a_build_that_is_killed_anywhere_asks_for_no_byte_twice_and_ends_with_the_same_shards(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    undisturbed = filled(copy, tmp_path)
    undisturbed.run()
    fetched = sorted(copy.gets)
    build = filled(copy, tmp_path)
    build.folder, copy.gets = tmp_path / "killed", []
    chance = random.Random(1)
    kills = 0
    while True:
        left = chance.randrange(1, 7)

        def perhaps_killed() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        # A connection that breaks off somewhere leaves a part, as a kill does.
        copy.breaks = {f"/k/part_{chance.randrange(ARCHIVES)}.tar.gz": [chance.randrange(1, 9000)]}
        try:
            executor = build.run(perhaps_killed if kills < 10 else lambda: None)
            break
        except Killed:
            kills += 1
    assert kills == 10
    for path in {path for path, _ in copy.gets if path.endswith("gz")}:
        offsets = copy.asked(path)
        assert offsets == sorted(set(offsets)), f"{path} from {offsets}"
    assert {path for path, _ in copy.gets} == {path for path, _ in fetched}
    assert executor.peak <= held_at_most(copy)
    assert build.outcomes == undisturbed.outcomes
    assert build.shards() == undisturbed.shards()


def test_what_an_archive_lacks_is_planned_again_for_the_next_source_and_says_what_was_lost(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    whole = packed({member(n): random.Random(n).randbytes(20_000) for n in range(60, 65)})
    build = filled(
        copy,
        tmp_path,
        cut=whole[: len(whole) // 2],
        forbidden=403,
        gone=404,
        bad=packed({member(65): b"broken", "videos/._v066_000000_000010.mp4": b"junk"}),
    )
    build.run()
    outcomes = build.dataset.records()
    assert [clip(n) for n in range(CLIPS + 6) if outcomes[clip(n)].outcome != "ok"] == [clip(n) for n in range(63, 66)]
    assert outcomes[clip(65)].outcome == "decode"
    lost = outcomes[clip(64)]
    assert lost.outcome == "not_found"
    assert "cut.tar.gz: Compressed file ended before" in lost.detail
    assert "gone.tar.gz: the server answered 404" in lost.detail
    assert [sum(name in line for line in build.said) for name in ("cut.tar.gz", "forbidden.tar.gz", "gone.tar")] == [
        1
    ] * 3
    assert copy.asked("/k/cut.tar.gz") == [0, 0]  # once more, as it might have been the way that was at fault

    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(60, 70):
        (videos / f"v{number:03d}.mp4").write_bytes(b"whole")
    build.others = {"f": FolderSource(videos)}
    build.run()
    outcomes = build.dataset.records()
    assert outcomes[clip(65)].outcome == "ok"  # its archive could not give it, and now there is a next source
    assert outcomes[clip(64)].outcome == "not_found"  # its record is final until it is asked again
    build.settings = PlanSettings(clips_per_shard=4, retry=frozenset({"not_found"}))
    build.run()
    assert {record.outcome for record in build.dataset.records().values()} == {"ok"}
    assert {path for path, _ in copy.gets if "part" in path} == {f"/k/part_{n}.tar.gz" for n in range(ARCHIVES)}


def test_an_archive_that_comes_before_its_group_is_read_needs_no_other_flag(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    build = filled(copy, tmp_path, late=404)

    def killed() -> None:
        raise Killed

    with pytest.raises(Killed):
        build.run(killed)
    copy.files["/k/late.tar.gz"] = packed({member(n): b"whole" for n in range(60, 70)})
    build.run()
    assert {outcome for outcome, _ in build.outcomes.values()} == {"ok"}


def sizes(build: ArchiveBuild, title: str) -> list[int | None]:
    """The bytes of an archive's parts as the frozen list has them."""
    return next(one.sizes for one in ArchiveState(build.dataset.store).list.archives if one.title == title)


def test_a_plan_that_repair_writes_again_keeps_its_group_of_archives(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path, bad=packed({member(n): b"broken" for n in range(60, 65)}))
    build.run()
    plans = [build.dataset.plan(number) for number in build.dataset.plan_numbers()]
    lost = next(number for number, plan in enumerate(plans) if clip(60) in plan.clip_ids())
    for folder in ("plans", "state/plans"):
        for path in (tmp_path / "build/dataset" / folder).glob(f"{lost:05d}*"):
            path.write_bytes(b"")
    found = look(build.dataset, quick=True)
    (line,) = take_out(build.dataset, found)
    assert line.startswith(f"plan {lost:05d} is written again from")
    assert [build.dataset.plan(number).archive_group for number in range(len(plans))] == [
        plan.archive_group for plan in plans
    ]

    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(60, 70):
        (videos / f"v{number:03d}.mp4").write_bytes(b"whole")
    build.others = {"f": FolderSource(videos)}
    before = len(copy.gets)
    build.run()
    assert [build.outcomes[clip(n)][0] for n in range(60, 65)] == ["ok"] * 5, "the next source is asked for them"
    assert asked(copy)[before:] == []


def test_a_limit_stops_reading_and_a_larger_one_adds(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path)
    found: dict[int, set[str]] = {}
    for limit in (7, 21, 65):
        build.settings = PlanSettings(clips_per_shard=4, limit=limit)
        build.run()
        found[limit] = set(build.dataset.records())
        assert len(found[limit]) == limit
    assert found[7] < found[21] < found[65]
    assert sum(outcome == "ok" for outcome, _ in build.outcomes.values()) == CLIPS
    archives = asked(copy)
    assert len(set(archives)) == ARCHIVES
    assert len(archives) <= ARCHIVES + 2  # one that a limit left in its middle is fetched once more


def test_a_limit_reads_no_archive_beyond_those_that_hold_it(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path)
    build.settings = PlanSettings(clips_per_shard=4, limit=10)
    build.run()
    assert len(asked(copy)) == 2
    assert len(build.outcomes) == 10


def test_a_cache_that_holds_no_two_groups_gets_smaller_ones_and_one_too_small_is_refused(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    build = filled(copy, tmp_path)
    build.max_disk = 2_680_000
    with pytest.raises(UserError, match=r"--max-disk is 2\.7 MB; this build needs at least .* of archives") as error:
        build.run()
    assert "\n" not in str(error.value)
    assert asked(copy) == []
    build.max_disk = 2_750_000
    executor = build.run()
    assert "archives are fetched in groups of 2: the cache holds two groups" in build.said
    assert executor.peak <= 60_000
    assert [len(build.dataset.plan(number)) for number in build.dataset.plan_numbers()] == [10] * 6 + [10]
    build.max_disk = 2_680_000
    with pytest.raises(UserError, match=r"--max-disk is 2\.7 MB"):
        build.run()


def test_replacements_come_before_what_they_replace(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path)
    copy.files["/k/part_0.tar.gz"] = packed({member(n): b"broken" for n in range(5)})
    copy.files["/k/replacement_for_corrupted.tgz"] = packed({member(n): b"whole" for n in range(4)})
    listed = copy.files["/k/list.txt"]
    assert isinstance(listed, bytes)
    copy.files["/k/list.txt"] = listed + f"{copy.base}/k/replacement_for_corrupted.tgz\n".encode()
    build.run()
    assert [build.outcomes[clip(n)][0] for n in range(5)] == ["ok"] * 4 + ["decode"]
    assert len(build.dataset.plan(0)) == 4


def test_what_a_folder_holds_that_comes_first_is_not_taken_from_archives(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    build = filled(copy, tmp_path)
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(25):
        (videos / f"v{number:03d}.mp4").write_bytes(b"broken" if number == 7 else b"whole")
    build.before = {"f": FolderSource(videos)}
    build.run()
    assert {build.outcomes[clip(n)] for n in range(25) if n != 7} == {("ok", videos.name)}
    assert {build.outcomes[clip(n)] for n in (7, *range(25, CLIPS))} == {("ok", "copy")}
    assert len(build.dataset.plan(0)) == 25


def test_archives_that_are_kept_serve_the_next_dataset(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path, cut=packed({member(60): b"whole" * 500})[:-8])
    build.keep = str(tmp_path / "kept")
    build.run()
    assert len(list((tmp_path / "kept").rglob("*.tar.gz"))) == ARCHIVES
    for name, left in (("part_3", b"other"), ("part_4", None)):
        (kept,) = (tmp_path / "kept").rglob(f"{name}.tar.gz")
        kept.write_bytes(left) if left is not None else kept.unlink()
    outcomes, copy.gets, build.folder = build.outcomes, [], tmp_path / "next"
    build.run()
    assert build.outcomes == outcomes
    assert set(asked(copy)) == {"part_3.tar.gz", "part_4.tar.gz", "cut.tar.gz"}


def test_archives_of_every_kind_share_a_list(copy: LoopbackArchives, tmp_path: Path) -> None:
    build = filled(copy, tmp_path)
    cut = packed({member(n): b"whole" for n in (60, 61)})
    more = {
        "plain.tar.gz": packed({member(62): b"whole"}, zipped=False),
        "x.zip": zipped({member(63): b"whole"}),
        "cut.tar.gz.0000": cut[:50],
        "cut.tar.gz.0001": cut[50:],
        "a.tgz": packed({member(64): b"whole"}),
        "b.tar.gz": packed({member(65): b"whole"}),
        "a b (c).tar": packed({member(66): b"whole"}, zipped=False),
    }
    listed = copy.files["/k/list.txt"]
    assert isinstance(listed, bytes)
    copy.files |= {f"/k/{name}": data for name, data in more.items()}
    copy.files["/k/list.txt"] = listed + "".join(f"{copy.base}/k/{name}\n" for name in more).encode()
    build.run()
    outcomes = [build.outcomes[clip(n)][0] for n in range(CLIPS + 10)]
    assert outcomes == ["ok"] * (CLIPS + 7) + ["not_found"] * 3
    assert all(copy.asked(f"/k/{name}") == [0] for name in more)
    assert build.said == []
