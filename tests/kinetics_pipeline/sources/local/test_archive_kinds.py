"""Zip files, archives that were cut into parts, and archives that are not what their names say."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources import parse_source
from kinetics_pipeline.sources.local.parts import grouped, open_parts
from kinetics_pipeline.sources.local.tars import TarSource, tar_files, unpack
from kinetics_pipeline.sources.options import SourceOptions

VIDEOS = {f"v{number}": random.Random(number).randbytes(60_000) + bytes(40_000) for number in range(8)}


def clip(video: str) -> Clip:
    return Clip(clip_id(video, 1, 11), video, 1, 11, "running", "train")


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for video, data in VIDEOS.items():
            for name, content in ((f"x/{video}_000001_000011.mp4", data), (f"x/._{video}_000001_000011.mp4", b"junk")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zipped(kind: int = zipfile.ZIP_DEFLATED, *, unseekable: bool = False) -> bytes:
    stream = io.BytesIO()

    class Pipe(io.RawIOBase):  # as `zip - | ...`: sizes and CRC follow each member
        def writable(self) -> bool:
            return True

        def write(self, data) -> int:  # type: ignore[no-untyped-def]
            return stream.write(data)

    with zipfile.ZipFile(Pipe() if unseekable else stream, "w", kind) as archive:
        archive.writestr("x/", b"")
        for video, data in VIDEOS.items():
            archive.writestr(f"x/{video}_000001_000011.mp4", data)
            archive.writestr(f"__MACOSX/x/._{video}_000001_000011.mp4", b"junk")
    return stream.getvalue()


def read(source: TarSource, video: str, folder: Path) -> bytes:
    (media,) = source.candidates(clip(video))
    assert media.inside is not None
    return unpack(media, folder, media.inside.points).read_bytes()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(zipped(), id="deflated"),
        pytest.param(zipped(zipfile.ZIP_STORED), id="stored"),
        pytest.param(zipped(unseekable=True), id="piped"),
        pytest.param(zipped(zipfile.ZIP_STORED, unseekable=True), id="stored and piped"),
        pytest.param(tar(), id="a plain tar"),
        pytest.param(gzip.compress(tar(), 1), id="a tar in gzip"),
    ],
)
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_is_what_its_bytes_say_whatever_its_name(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    source = TarSource([tmp_path / name], tmp_path / "cache", lambda _: None)
    assert len(source) == len(VIDEOS)
    for video in ("v7", "v0", "v3"):
        assert read(source, video, tmp_path / "scratch") == VIDEOS[video]


@pytest.mark.parametrize(
    ("before", "first"), [(".", "0000"), (".part-", "001"), (".part", "0"), (".", "aa"), ("_", "001")]
)
@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_parts_are_read_as_one_archive(tmp_path: Path, form: str, before: str, first: str) -> None:
    data = {"tar": tar(), "tar.gz": gzip.compress(tar(), 1), "zip": zipped()}[form]
    step = len(data) // 11 + 1
    for number in range(11):
        counted = f"a{chr(ord('a') + number)}" if first == "aa" else str(int(first) + number).zfill(len(first))
        part = data[number * step : (number + 1) * step]
        (tmp_path / f"k.{form}{before}{counted}").write_bytes(part)
    source = parse_source(str(tmp_path), SourceOptions(), tmp_path / "cache")
    assert isinstance(source, TarSource)
    assert len(source) == len(VIDEOS)
    for video in ("v7", "v0", "v3"):
        assert read(source, video, tmp_path / "scratch") == VIDEOS[video]
    one = next(path for path in sorted(tmp_path.iterdir()) if path.name.startswith("k."))
    assert len(tar_files(str(one))) == 11
    again = TarSource(tar_files(str(one)), tmp_path / "cache", lambda _: None)
    assert [archive.members for archive in again.archives] == [archive.members for archive in source.archives]


def test_an_archive_without_a_part_is_named_and_other_files_are_none(tmp_path: Path) -> None:
    names = ["k.tar.gz.0000", "k.tar.gz.0002", "w.tar.gz", "w.tar.gz.1", "w.tar.gz.md", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"k\.tar\.gz' lacks its part 1 of 2"):
        grouped([tmp_path / name for name in names])
    assert grouped([tmp_path / name for name in names[2:]]) == [(tmp_path / "w.tar.gz",)]
    with pytest.raises(UserError, match="lacks its parts before"):
        grouped([tmp_path / "k.tar.gz.0002", tmp_path / "k.tar.gz.0003"])


def test_a_stream_of_parts_can_be_sought_in(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"k.tar.{number}").write_bytes(bytes([number]) * 10)
    with open_parts([tmp_path / f"k.tar.{number}" for number in range(3)]) as stream:
        assert stream.seek(0, 2) == 30
        stream.seek(8)
        assert stream.read(14) == bytes(2 * [0] + 10 * [1] + 2 * [2])
        stream.seek(-1, 2)
        assert stream.read() == b"\x02"


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_of_a_zip_that_is_cut_off_the_videos_before_are_there(tmp_path: Path, kind: int) -> None:
    data = zipped(kind)
    (tmp_path / "a.zip").write_bytes(data[: len(data) * 55 // 100])
    said: list[str] = []
    source = TarSource([tmp_path / "a.zip"], tmp_path / "cache", said.append)
    assert any("a.zip is damaged: the list at its end is lost" in line for line in said)
    for video in ("v0", "v3"):
        assert read(source, video, tmp_path / "scratch") == VIDEOS[video]
    assert source.candidates(clip("v7")) == []


def test_of_a_zip64_that_is_cut_off_the_videos_before_are_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for video, data in VIDEOS.items():
            with archive.open(f"{video}_000001_000011.mp4", "w", force_zip64=True) as member:
                member.write(data)
    whole = TarSource([tmp_path / "x.zip"], tmp_path / "cache")
    assert [read(whole, video, tmp_path / "a") for video in VIDEOS] == list(VIDEOS.values())
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes()[:-30])
    cut = TarSource([tmp_path / "x.zip"], tmp_path / "cache")
    assert [one.damage for one in cut.archives] == ["the list at its end is lost"]
    assert [read(cut, video, tmp_path / "b") for video in VIDEOS] == list(VIDEOS.values())


def test_of_a_zip_with_a_damaged_member_the_others_are_there_and_that_one_is_empty(tmp_path: Path) -> None:
    data = bytearray(zipped(zipfile.ZIP_STORED))
    at = data.index(VIDEOS["v3"][:100])
    data[at : at + 50] = bytes(50)
    (tmp_path / "a.zip").write_bytes(data)
    source = TarSource([tmp_path / "a.zip"], tmp_path / "cache", lambda _: None)
    assert read(source, "v3", tmp_path / "scratch") == b""
    assert read(source, "v4", tmp_path / "scratch") == VIDEOS["v4"]


def test_a_zip_that_is_none_and_an_encrypted_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PKnot a zip file at all" * 100)
    with pytest.raises(UserError, match=r"a\.zip' is not a zip file"):
        TarSource([tmp_path / "a.zip"], tmp_path / "cache", lambda _: None)
    data = bytearray(zipped(zipfile.ZIP_STORED))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))  # the last but one: v7 itself
    data[entry + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    said: list[str] = []
    source = TarSource([tmp_path / "b.zip"], tmp_path / "cache", said.append)
    assert any("1 file in it is encrypted" in line for line in said)
    assert source.candidates(clip("v7")) == []
    assert len(source) == len(VIDEOS) - 1
