"""A build from tar files gives what a build from the unpacked folder gives, and leaves nothing unpacked behind."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.cli.app import run
from tests.builders.building import FLAGS, Build, Pile


def packed(pile: Pile, folder: Path) -> Path:
    """The videos of the pile in three archives; one video is broken in the first and whole in the last, and one is
    asked for by nobody."""
    folder.mkdir()
    videos = sorted(pile.folder.glob("*.mp4"))
    broken, orphan = folder.parent / "broken.mp4", folder.parent / "orphan.mp4"
    broken.write_bytes(videos[0].read_bytes()[:2000])
    orphan.write_bytes(b"nobody asks for it")
    contents = {
        "part_0.tar.gz": [(broken, videos[0].name), *((v, v.name) for v in videos[1:8])],
        "part_1.tar": [(v, v.name) for v in videos[8:]],
        "replacement_for_corrupted.tgz": [(videos[0], videos[0].name), (orphan, "orphan_000001_000011.mp4")],
    }
    for name, files in contents.items():
        with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as tar:
            for path, inner in files:
                tar.add(path, f"./train/{inner}")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_cluster")
def test_tars_give_what_the_unpacked_folder_gives(pile: Pile, undisturbed: Build, tmp_path: Path) -> None:
    folder = packed(pile, tmp_path / "tars")
    build = Build(pile, tmp_path, [str(folder / "*")], FLAGS)
    said = build.run()
    assert "3 tar files once" in said
    notes = [path for path in build.cache.rglob("*") if path.is_file() and "log" not in path.parts]
    assert {path.parent.name for path in notes} == {"tars"}
    for path in notes:
        path.unlink()
    build.require_finished()
    contents = [{clip: e[0].get("content") for clip, e in one.entries().items()} for one in (build, undisturbed)]
    assert contents[0] == contents[1]
    assert build.entries()["clip_000000_000000_000001"][0]["source"] == "tars (tars)"


def test_plan_says_what_tars_need_and_what_is_odd_in_them(
    pile: Pile, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = packed(pile, tmp_path / "tars")
    assert run(["plan", str(pile.annotations), "--source", str(folder), "--flow", "none"]) == 0
    said = capsys.readouterr().out
    assert "18 videos in 3 tar files" in said
    assert "1 video that no clip asks for: train/orphan_000001_000011.mp4" in said
    assert "1 name that several videos have" in said
    assert [line.split() for line in said.splitlines() if line.startswith("tars (tars)  ")] == [
        ["tars", "(tars)", "17", "16"]
    ]
