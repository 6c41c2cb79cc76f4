"""A public copy as the source of a build: named, fetched, and followed by another source for what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.archives import fetch as fetching
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed, served, zipped
from kinetics_pipeline.workflows.building.request import read_asked
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from tests.builders.building import CLIPS, FLAGS, Build, Pile

HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackArchives]:
    monkeypatch.setattr(fetching, "WAIT", 0.01)
    with served() as server:
        yield server


def k600(copy: LoopbackArchives) -> LoopbackArchives:
    """Four classes, an archive a class and split, each with three videos and one that nobody asks for."""
    labels = ["air drumming", "petting animal (not cat)", "run", "walk"]
    for split in ("train", "val"):
        rows = [f"{label},{split}{label[:3]}_{n},1,11,{split}" for label in labels for n in range(3)]
        copy.files[f"/k/600/annotations/{split}.txt"] = (HEADER + "\n".join(rows)).replace("air dr", "air dr").encode()
        copy.files[f"/k/600/{split}/k600_{split}_path.txt"] = "".join(
            f"https://s3.amazonaws.com/kinetics/600/{split}/{label}.tar.gz\n" for label in labels
        ).encode()
        for label in labels:
            videos = {f"{split}{label[:3]}_{n}_000001_000011.mp4": b"video" for n in range(4)}
            copy.files[f"/k/600/{split}/{label}.tar.gz"] = packed(videos)
    copy.files["/k/600/annotations/test.csv"] = (HEADER + "run,test_0,1,11,test\n").encode()
    copy.files["/k/600/test/k600_test_path.txt"] = b"https://s3.amazonaws.com/kinetics/600/test/part_0.tar.gz\n"
    copy.files["/k/600/test/part_0.tar.gz"] = packed({"test_0_000001_000011.mp4": b"video"})
    return copy


def config(copy: LoopbackArchives, folder: Path, **flags: object) -> BuildConfig:
    return BuildConfig(
        **{"source": ("cvdf",), "mirror": f"{copy.base}/k", "output": str(folder / "out"), "cache": folder / "cache"}
        | flags  # type: ignore[arg-type]
    )


def archives_asked(copy: LoopbackArchives) -> list[str]:
    return sorted(path.removeprefix("/k/600/") for path, _ in copy.gets if path.endswith(".tar.gz"))


def test_only_archives_of_the_classes_and_splits_asked_for_are_asked_for_and_none_is_fetched_yet(
    copy: LoopbackArchives, tmp_path: Path
) -> None:
    k600(copy)
    flags = config(copy, tmp_path, split=("val",), classes=("petting_animal_not_cat,run",))
    (source,) = read_asked(["kinetics-600"], flags).copies.values()
    assert source.name == "cvdf"
    assert sorted(one.names[0] for one in source.archives) == [
        f"https://s3.amazonaws.com/kinetics/600/val/{name}.tar.gz"
        for name in ("petting%20animal%20%28not%20cat%29", "run")
    ]
    (everything,) = read_asked(["kinetics-600"], config(copy, tmp_path, split=("val",))).copies.values()
    assert len(everything.archives) == 4
    assert archives_asked(copy) == []


def test_plan_asks_for_lists_and_sizes_alone(
    copy: LoopbackArchives, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    k600(copy)
    flags = ["--source", "cvdf", "--mirror", f"{copy.base}/k", "--cache", str(tmp_path), "--flow", "none"]
    assert run(["plan", "kinetics-600", "--split", "val", *flags]) == 0
    assert "cvdf: 4 archives, " in capsys.readouterr().out
    assert archives_asked(copy) == []


def test_a_list_an_address_and_a_name_without_a_copy(copy: LoopbackArchives, tmp_path: Path) -> None:
    k600(copy)
    (tmp_path / "a.csv").write_text("test_0,run,1,11\n")
    for text in (f"{copy.base}/k/600/test/part_0.tar.gz", f"{copy.base}/k/600/test/k600_test_path.txt"):
        asked = read_asked([str(tmp_path / "a.csv")], config(copy, tmp_path, source=(text,)))
        (source,) = asked.copies.values()
        assert [one.addresses[0].name for one in source.archives] == ["part_0.tar.gz"]
    with pytest.raises(UserError, match="--source cvdf goes with Kinetics by name"):
        read_asked([str(tmp_path / "a.csv")], config(copy, tmp_path))
    with pytest.raises(UserError, match=r"list .*none\.txt: the server answered 404"):
        read_asked([str(tmp_path / "a.csv")], config(copy, tmp_path, source=(f"{copy.base}/none.txt",)))


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_cluster")
def test_a_build_by_name_takes_the_copy_and_then_the_next_source(
    pile: Pile, copy: LoopbackArchives, tmp_path: Path
) -> None:
    videos = {path.stem: path.read_bytes() for path in sorted(pile.folder.glob("*.mp4"))}
    rows = [line.split(",") for line in pile.annotations.read_text().splitlines()[1:]]
    trimmed = {f"train/{name}_000000_000001.mp4": data for name, data in videos.items()}
    parts = list(trimmed.items())
    whole = packed(dict(parts[4:8]))
    base = "https://s3.amazonaws.com/kinetics/400"
    cut = packed(dict(parts[10:12]))
    names = ["part_0.tar.gz", "part_1.tar.gz", "part_2.tar.gz", "part_3.zip", "part_4.tar.gz.0000"]
    names += ["part_4.tar.gz.0001", "left.tar.gz"]
    copy.files = {
        "/k/400/annotations/train.csv": (HEADER + "\n".join(",".join(row) for row in rows)).encode(),
        "/k/400/annotations/val.csv": (HEADER + "left,other,0,1,val\n").encode(),
        "/k/400/annotations/test.csv": (HEADER + "left,another,0,1,test\n").encode(),
        "/k/400/train/k400_train_path.txt": "".join(f"{base}/train/{name}\n" for name in names).encode(),
        # A plain tar with a broken video that the replacements hold whole; one that is cut off; one that is not there.
        "/k/400/train/part_0.tar.gz": packed(
            {parts[0][0]: parts[0][1][:2000]} | dict(parts[1:4]) | {"train/._x.mp4": b"junk"}, zipped=False
        ),
        "/k/400/train/part_1.tar.gz": whole[: len(whole) * 6 // 10],
        "/k/400/train/part_3.zip": zipped(dict(parts[8:10])),
        "/k/400/train/part_4.tar.gz.0000": cut[:5000],
        "/k/400/train/part_4.tar.gz.0001": cut[5000:],
        "/k/400/train/left.tar.gz": packed(dict(parts[12:13])),
        "/k/400/replacement_for_corrupted_k400.tgz": packed(dict(parts[:1])),
    }
    named = replace(pile, annotations=Path("kinetics-400"))
    flags = (*FLAGS, "--mirror", f"{copy.base}/k", "--split", "train", "--archives-per-plan", "3")
    build = Build(named, tmp_path, ["cvdf", str(pile.folder)], flags)
    said = build.run()
    assert "part_2.tar.gz is given up: the server answered 404" in said
    assert "part_1.tar.gz is damaged" in said
    entries = {clip: records[-1] for clip, records in build.entries().items()}  # the newest
    assert sum(entry["outcome"] == "ok" for entry in entries.values()) == CLIPS
    by_source = {clip: entry["source"] for clip, entry in entries.items() if entry["outcome"] == "ok"}
    clips = [f"{name}_000000_000001" for name in videos]
    assert {by_source[clip] for clip in (*clips[:4], *clips[8:13])} == {"cvdf"}
    assert {by_source[clip] for clip in clips[13:]} == {pile.folder.name}
    assert not list(build.cache.rglob("archives"))
    before = len(copy.gets)
    build.run()
    assert not any("part_" in path or path.endswith("gz") for path, _ in copy.gets[before:])
