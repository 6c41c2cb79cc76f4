"""Videos inside tar files: found by name, read in place, whatever the archive or its names are like."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources import parse_source
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.sources.local.tars import TarSource, tar_files, unpack
from kinetics_pipeline.sources.options import SourceOptions


def clip(video: str, start: float = 1, end: float = 11) -> Clip:
    return Clip(clip_id(video, start, end), video, start, end, "running", "train")


def content(seed: int, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


def archive(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """A tar, gzipped where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = plain.getvalue()
    path.write_bytes(data if path.suffix == ".tar" else gzip.compress(data, 1))
    return path


def read(source: TarSource, asked: Clip, folder: Path) -> list[bytes]:
    found = []
    for number, media in enumerate(source.candidates(asked)):
        assert media.inside is not None
        found.append(unpack(media, folder / str(number), media.inside.points).read_bytes())
    return found


@pytest.mark.parametrize("name", ["part_0.tar", "part_0.tar.gz", "part_0.tgz"])
def test_every_video_is_read_as_it_was_packed(tmp_path: Path, name: str) -> None:
    videos = {f"video_{number:05d}": content(number) for number in range(80)}
    path = archive(tmp_path / name, [(f"train/{v}_000001_000011.mp4", data) for v, data in videos.items()])
    source = TarSource([path], tmp_path / "cache")
    assert len(source) == 80
    for video in random.Random(0).sample(sorted(videos), 12):
        assert read(source, clip(video), tmp_path / "scratch") == [videos[video]]


def test_an_archive_is_read_once_and_again_when_it_was_changed(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", [("one_000001_000011.mp4", content(1))])
    said: list[str] = []
    TarSource([path], tmp_path / "cache", said.append)
    TarSource([path], tmp_path / "cache", said.append)
    assert len(said) == 1
    archive(path, [("two_000001_000011.mp4", content(2))])
    os.utime(path, ns=(1, 1))
    source = TarSource([path], tmp_path / "cache", said.append)
    assert len(said) == 2
    assert read(source, clip("two"), tmp_path) == [content(2)]
    assert source.candidates(clip("one")) == []


def test_of_videos_with_one_name_all_are_offered_replacements_first(tmp_path: Path) -> None:
    paths = [
        archive(tmp_path / "k400_train_part_1.tar.gz", [("a_000001_000011.mp4", b"corrupted")]),
        archive(tmp_path / "replacement_for_corrupted_k400.tgz", [("replacement/a_000001_000011.mp4", b"sound")]),
        archive(tmp_path / "z.tar", [("a_000001_000011.mp4", b"first"), ("a_000001_000011.mp4", b"second")]),
    ]
    source = TarSource(paths, tmp_path / "cache")
    assert read(source, clip("a"), tmp_path / "scratch") == [b"sound", b"second", b"first", b"corrupted"]
    assert source.repeated() == ["a_000001_000011.mp4"]


def test_videos_that_no_clip_asks_for_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [(f"{v}_000001_000011.mp4", b"x") for v in ("asked", "orphan")])
    assert TarSource([path], tmp_path / "cache").orphans([clip("asked"), clip("elsewhere")]) == [
        "orphan_000001_000011.mp4"
    ]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_of_an_archive_that_is_cut_off_the_videos_before_are_there(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / name, [(f"v{number}_000001_000011.mp4", content(number)) for number in range(10)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 55 // 100])
    said: list[str] = []
    source = TarSource([path], tmp_path / "cache", said.append)
    assert any("damaged" in line and name in line for line in said)
    for number in range(5):
        assert read(source, clip(f"v{number}"), tmp_path / "scratch") == [content(number)]
    for last in source.candidates(clip("v5")):  # what there is of it; decoding finds out
        assert last.inside is not None
        assert content(5).startswith(unpack(last, tmp_path / "scratch", last.inside.points).read_bytes())
    assert source.candidates(clip("v7")) == []


def test_of_a_gzip_file_with_a_damaged_middle_the_videos_before_are_there(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", [(f"v{number}_000001_000011.mp4", content(number)) for number in range(10)])
    data = bytearray(path.read_bytes())
    middle = len(data) * 55 // 100
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    source = TarSource([path], tmp_path / "cache", lambda _: None)
    for number in range(5):
        assert read(source, clip(f"v{number}"), tmp_path / "scratch") == [content(number)]


def test_headers_that_break_off_are_said(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [("v0_000001_000011.mp4", content(0)), ("v1_000001_000011.mp4", content(1))])
    data = bytearray(path.read_bytes())
    second = 512 + 300_032
    assert data[second : second + 2] == b"v1"
    data[second : second + 512] = os.urandom(512)
    path.write_bytes(data)
    said: list[str] = []
    assert len(TarSource([path], tmp_path / "cache", said.append)) == 1
    assert any("break off after v0_000001_000011.mp4" in line for line in said)


@pytest.mark.parametrize(
    "name", ["../../escape_000001_000011.mp4", "/etc/escape_000001_000011.mp4", "a/\n;$(x)/escape_000001_000011.mp4"]
)
def test_no_name_leads_out_of_the_folder_it_is_unpacked_to(tmp_path: Path, name: str) -> None:
    source = TarSource([archive(tmp_path / "a.tar", [(name, b"bytes")])], tmp_path / "cache")
    (media,) = source.candidates(clip("escape"))
    assert media.inside is not None
    assert unpack(media, tmp_path / "scratch", None).parent == tmp_path / "scratch"


def test_links_and_other_things_that_are_no_files_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("v_000001_000011.mp4")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert len(TarSource([tmp_path / "a.tar"], tmp_path / "cache")) == 0


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_link_in_an_archive_is_the_file_it_leads_to_and_one_out_of_it_is_not_there(tmp_path: Path, name: str) -> None:
    links = {
        "hard": (tarfile.LNKTYPE, "./k/file_000001_000011.mp4"),
        "soft": (tarfile.SYMTYPE, "../k/file_000001_000011.mp4"),
        "chain": (tarfile.SYMTYPE, "hard_000001_000011.mp4"),
        "out": (tarfile.LNKTYPE, "/etc/passwd"),
        "up": (tarfile.SYMTYPE, "../../file_000001_000011.mp4"),
        "circle": (tarfile.SYMTYPE, "circle_000001_000011.mp4"),
    }
    with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as tar:
        info = tarfile.TarInfo("./k/file_000001_000011.mp4")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(content(1)))
        for video, (kind, target) in links.items():
            info = tarfile.TarInfo(f"./k/{video}_000001_000011.mp4")
            info.type, info.linkname = kind, target
            tar.addfile(info)
    source = TarSource([tmp_path / name], tmp_path / "cache", lambda _: None)
    for video in ("file", "hard", "soft", "chain"):
        assert read(source, clip(video), tmp_path / video) == [content(1)]
    for video in ("out", "up", "circle"):
        assert source.candidates(clip(video)) == []


def test_two_files_of_one_archive_that_differ_only_in_suffix_are_an_error_and_of_two_archives_are_not(
    tmp_path: Path,
) -> None:
    one = archive(tmp_path / "a.tar", [("x/a_000001_000011.mp4", b"1")])
    other = archive(tmp_path / "b.tar", [("x/a_000001_000011.mkv", b"2")])
    assert len(TarSource([one, other], tmp_path / "cache").candidates(clip("a"))) == 2
    both = archive(tmp_path / "c.tar", [("x/a_000001_000011.mp4", b"1"), ("x/a_000001_000011.mkv", b"2")])
    with pytest.raises(UserError, match=r"c\.tar.*a_000001_000011\.mkv.*a_000001_000011\.mp4"):
        TarSource([both], tmp_path / "cache").candidates(clip("a"))


def test_a_file_that_is_no_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(UserError, match=r"a\.tar"):
        TarSource([tmp_path / "a.tar"], tmp_path / "cache")


def test_a_file_a_pattern_and_a_folder_name_tars(tmp_path: Path) -> None:
    paths = [archive(tmp_path / "train" / f"part_{n}.tar.gz", [(f"v{n}.mp4", b"x")]) for n in range(3)]
    assert tar_files(str(tmp_path / "train" / "*.tar.gz")) == tar_files(str(tmp_path / "train")) == paths
    assert tar_files(str(paths[1])) == [paths[1]]
    for text in (str(tmp_path / "train" / "*.tar.gz"), str(tmp_path / "train"), str(paths[0])):
        assert isinstance(parse_source(text, SourceOptions(), tmp_path / "cache"), TarSource)
    (tmp_path / "train" / "unpacked.mp4").write_bytes(b"x")
    assert isinstance(parse_source(str(tmp_path / "train"), SourceOptions(), tmp_path / "cache"), FolderSource)
    with pytest.raises(UserError, match="nowhere"):
        parse_source(str(tmp_path / "nowhere*.tar"), SourceOptions(), tmp_path / "cache")
