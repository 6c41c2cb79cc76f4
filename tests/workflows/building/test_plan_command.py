"""What `plan` says, beside counts made by hand: clips, files that overlap, what a dataset holds, bytes and days."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.plan import PlanSettings, make_plan
from kinetics_pipeline.sources.local.tars import TarSource
from kinetics_pipeline.workflows.building.disk import needs, needs_of
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.clips import built

HEADER = "label,youtube_id,time_start,time_end,split\n"


def asked(path: Path, *rows: tuple[str, int, str]) -> str:
    lines = (f"running,{video},{start},{start + 10},{split}\n" for video, start, split in rows)
    path.write_text(HEADER + "".join(lines))
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    capsys.readouterr()
    assert run(["plan", *arguments]) == 0
    told = capsys.readouterr()
    return told.out, told.err


def row_of(out: str, first: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [first]]
    return line.split()[1:]


def test_clips_videos_shards_bytes_and_days_are_those_of_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"video{number:06d}", second, "train") for number in range(300) for second in (0, 20)]
    file = asked(tmp_path / "k.csv", *rows, ("video000300", 5, "val"))
    out, err = said(capsys, file, "--rate", "100", "--clips-per-shard", "100")
    assert row_of(out, "train") == ["600", "300", "6"]
    assert row_of(out, "val") == ["1", "1", "1"]
    assert row_of(out, "all") == ["601", "301", "7"]
    assert row_of(out, "youtube") == ["601", "301"]
    assert "about 3.4 GB (RGB and flow, parquet, short side 256)" in out  # 601 of 5.63 MB
    assert "3 h 00 min for 301 videos" in out
    assert err == ""


def test_days_and_disk_are_those_of_a_build_with_the_same_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = asked(tmp_path / "k.csv", *((f"video{number:06d}", 0, "train") for number in range(300)))
    proxies = ["--proxy", "one.example:80", "--proxy", "two.example:80"]
    flags = ["--rate", "100", "--cache", str(tmp_path / "cache"), *proxies]
    assert "3 h 00 min for 300 videos of YouTube's at 100 an hour (--rate)\n" in said(capsys, file, *flags)[0]
    out, _ = said(capsys, file, *flags, "--egress", "per-proxy", "--keep-clips", str(tmp_path / "kept"))
    assert "1 h 30 min for 300 videos of YouTube's at 100 an hour (--rate, of each proxy)\n" in out
    assert "segments    about 498.0 MB (--keep-clips)" in out  # 300 of 10 s of 166 kB
    assert "(--rate, of one node: the more nodes, the less time)" in said(capsys, file, "--egress", "per-node")[0]


def test_what_files_and_splits_have_in_common_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = asked(tmp_path / "one_train.csv", ("aaaaaaaaaaa", 0, "train"), ("bbbbbbbbbbb", 0, "train"))
    two = asked(
        tmp_path / "two_val.csv",
        ("aaaaaaaaaaa", 0, "val"),
        ("bbbbbbbbbbb", 0, "train"),
        ("bbbbbbbbbbb", 50, "val"),
        ("ccccccccccc", 0, "val"),
    )
    out, err = said(capsys, one, two)
    assert "1 segment of two_val.csv is in one_train.csv too, and counts once\n" in err
    assert "1 segment of two_val.csv is in one_train.csv too, and counts once: val there, kept in train\n" in err
    assert "1 video has clips in train and in val\n" in err
    assert row_of(out, "all")[0] == "4"


def test_labels_that_differ_in_spelling_alone_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text("a.mp4,Ice skating\nb.mp4,ice_skating\nc.mp4,caf\u00e9\nd.mp4,cafe\u0301\ne.mp4,skating\n")
    assert run(["plan", str(asked), "--source", str(tmp_path), "--flow", "none"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "spelling" in line]
    assert [line.partition(": ")[2] for line in told] == ["'Ice skating', 'ice_skating'", "'cafe\u0301', 'caf\u00e9'"]


def test_clips_that_a_dataset_holds_are_not_planned_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = built(tmp_path / "data", count=4, outcomes={"v001_000001_000011": "network"})
    records = dataset.records()
    rows = "".join(
        f"{record.label},{record.video_id},{record.time_start},{record.time_end},train\n" for record in records.values()
    )
    label = next(iter(records.values())).label
    file = tmp_path / "asked.csv"
    file.write_text(f"{HEADER}{rows}{label},new_video00,0,10,train\n")
    recipe = dataset.recipe
    flags = ["--output", str(tmp_path / "data"), "--short-side", str(recipe.short_side), "--flow", recipe.flow]
    if recipe.flow != "none":
        flags += ["--flow-backend", recipe.flow_backend]
    out, _ = said(capsys, str(file), *flags)
    assert re.search(r"5 clips asked, of them in \S+: 3 ok, 1 network\n", out)
    assert row_of(out, "train") == ["1", "1", "1"]
    out, _ = said(capsys, str(file), *flags, "--retry", "network")
    assert "3 ok, 1 network (again)" in out
    assert row_of(out, "train") == ["2", "2", "1"]
    first = load_annotations([file]).table.iloc[-1:]
    begun = make_plan(first, outcomes={}, settings=PlanSettings(), held_locally=lambda _: (), next_shard={"train": 7})
    dataset.add_plan(begun)
    out, _ = said(capsys, str(file), *flags)
    assert "plan 00001 comes first: 1 clip in 1 shard not committed\n" in out
    assert "3 ok, 1 network, 1 pending" in out
    assert row_of(out, "train") == ["1", "1", "1"]


def test_a_dataset_that_is_not_begun_yet_holds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = asked(tmp_path / "a.csv", ("aaaaaaaaaaa", 0, "train"))
    out, _ = said(capsys, file, "--output", str(tmp_path / "new"))
    assert row_of(out, "train") == ["1", "1", "1"]
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_least_of_disk_that_plan_names_is_what_build_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = asked(tmp_path / "a.csv", *((f"video{number:06d}", 0, "train") for number in range(70)))
    out, _ = said(capsys, file)
    (least,) = re.findall(r"--max-disk as little as (\S+ \S+)", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "")
        flags = ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--max-disk", "1MB"]
        assert run(["build", file, *flags]) == 2
    assert f"this build needs at least {least}" in capsys.readouterr().err


def test_notes_on_tar_files_are_part_of_what_the_cache_holds(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("aaaaaaaaaaa.mp4")
        member.size = 3 << 20
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(member.size)))
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(packed.getvalue(), 1))
    cache = tmp_path / "cache"
    for _ in range(2):  # read, and then known
        source = TarSource([archive], cache)
        assert source.notes == sum(path.stat().st_size for path in cache.iterdir()) > 0


def test_what_shards_need_grows_with_the_largest_of_them_alone(tmp_path: Path) -> None:
    from kinetics_pipeline.recipe import Recipe

    file = asked(tmp_path / "a.csv", *((f"video{number:06d}", 0, "train") for number in range(70)))

    def wanted(limit: int, clips_per_shard: int):  # type: ignore[no-untyped-def]
        settings = PlanSettings(limit=limit, clips_per_shard=clips_per_shard)
        table = load_annotations([file]).table
        plan = make_plan(table, outcomes={}, settings=settings, held_locally=lambda _: (), next_shard={})
        return needs(list(plan.shards()), Recipe())

    assert wanted(70, 10) == wanted(10, 10)
    assert wanted(70, 20).shard == 2 * wanted(70, 10).shard


def test_what_shards_need_is_the_same_by_their_clips_and_by_the_columns_of_the_plan(tmp_path: Path) -> None:
    from kinetics_pipeline.recipe import Recipe

    table = load_annotations([asked(tmp_path / "a.csv", *((f"v{n // 3}", 20 * n, "train") for n in range(70)))]).table
    table.loc[3::7, "time_end"] += 5.5  # clips of several lengths, and a whole video among them
    table.loc[[0, 40], ["time_start", "time_end"]] = np.nan
    for held in ((), table["clip_id"][::2], table["clip_id"]):
        settings, recipe = PlanSettings(clips_per_shard=8), Recipe(short_side=128)
        plan = make_plan(table, outcomes={}, settings=settings, held_locally=lambda _, h=held: set(h), next_shard={})  # type: ignore[misc]
        assert needs_of(plan, recipe) == needs(plan.shards(), recipe)
        assert needs_of(plan.of_shards([]), recipe) == needs((), recipe)


def test_a_video_of_which_only_some_clips_lie_in_a_folder_is_counted_for_each_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = asked(
        tmp_path / "a.csv", ("aaaaaaaaaaa", 0, "train"), ("aaaaaaaaaaa", 20, "train"), ("b1234567890", 0, "val")
    )
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "aaaaaaaaaaa_000000_000010.mp4").touch()
    out, _ = said(capsys, file, "--source", str(tmp_path / "videos"), "--source", "youtube")
    assert row_of(out, "videos") == ["1", "1"]
    assert row_of(out, "youtube") == ["2", "2"]
    out, _ = said(capsys, file, "--source", str(tmp_path / "videos"))
    assert re.search(r"nowhere: no source has them +2 +2\n", out)
    (tmp_path / "videos" / "aaaaaaaaaaa_000000_000010.mp4").unlink()
    out, _ = said(capsys, file, "--source", str(tmp_path / "videos"))
    assert re.search(r"nowhere: no source has them +3 +2\n", out)
