"""Which files of a folder may hold a clip."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.sources.local.held import held


def clip(video_id: str, start: float | None = None, end: float | None = None, path: str | None = None) -> Clip:
    return Clip(clip_id(video_id, start, end), video_id, start, end, "jumping", "train", path)


def found(root: Path, *files: str, clip: Clip) -> list[tuple[str, float]]:
    """The candidates in a folder of these files: path below the root, and offset."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return [(m.path.relative_to(root).as_posix(), m.offset) for m in FolderSource(root).candidates(clip)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".mov", ".MP4", ".ts", ".3gp", ".ogv", ""])
def test_trimmed_files_are_found_at_any_depth_in_any_container(tmp_path: Path, suffix: str) -> None:
    name = f"train/playing the piano/0wR5jVB-WPk_000417_000427{suffix}"
    assert found(tmp_path, name, clip=clip("0wR5jVB-WPk", 417, 427)) == [(name, 417)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ""])
def test_whole_files_are_found_by_their_id(tmp_path: Path, suffix: str) -> None:
    assert found(tmp_path, f"a/-b_c.d{suffix}", clip=clip("-b_c.d", 3, 13)) == [(f"a/-b_c.d{suffix}", 0)]


def test_trimmed_files_come_before_whole_ones_each_in_order(tmp_path: Path) -> None:
    files = ("a.mp4", "x/a.mkv", "x/a_000003_000013.webm", "a_000003.000_000013.000.mp4", "b_000003_000013.mp4")
    assert found(tmp_path, *files, clip=clip("a", 3, 13)) == [
        ("x/a_000003_000013.webm", 3),
        ("a_000003.000_000013.000.mp4", 3),
        ("a.mp4", 0),
        ("x/a.mkv", 0),
    ]


@pytest.mark.parametrize("suffix", [".mp4", ""])
def test_times_that_are_not_whole_have_three_decimals(tmp_path: Path, suffix: str) -> None:
    for name in (f"a_000001.500_000003{suffix}", f"a_000001.500_000003.000{suffix}"):
        assert (name, 1.5) in found(tmp_path, name, clip=clip("a", 1.5, 3))


@pytest.mark.parametrize("times", ["10_20", "10.0_20.000", "0010_0020", "000010.000_20"])
def test_times_may_be_written_in_any_way(tmp_path: Path, times: str) -> None:
    assert found(tmp_path, f"x/a_b_{times}.webm", clip=clip("a_b", 10, 20)) == [(f"x/a_b_{times}.webm", 10)]
    assert found(tmp_path, f"x/a_b_{times}.webm", clip=clip("a_b", 10, 21)) == []
    assert found(tmp_path, "c_10.5_20.25.mp4", clip=clip("c", 10.5, 20.25)) == [("c_10.5_20.25.mp4", 10.5)]


def test_an_id_that_looks_like_a_trimmed_name_is_not_taken_apart(tmp_path: Path) -> None:
    files = ("a_000001_000002.mp4", "a_000001_000002_000005_000006.mp4", "a.mp4")
    assert found(tmp_path, *files, clip=clip("a_000001_000002", 5, 6)) == [(files[1], 5), (files[0], 0)]
    assert found(tmp_path, *files, clip=clip("a", 5, 6)) == [("a.mp4", 0)]


def test_another_piece_of_the_video_is_not_the_clip(tmp_path: Path) -> None:
    assert found(tmp_path, "a_000001_000011.mp4", "a_1_2.mp4", "aa.mp4", clip=clip("a", 2, 12)) == []


def test_a_whole_video_is_asked_for_without_times(tmp_path: Path) -> None:
    assert found(tmp_path, "a.mp4", "a_000001_000002.mp4", clip=clip("a")) == [("a.mp4", 0)]


@pytest.mark.parametrize(
    "name", [".a.mp4", "a.mp4.part", "a.part", "a.mp4.tmp", "a.txt", "a.jpg", "a.info.json", ".hidden/a.mp4", "x.mp4/b"]
)
def test_hidden_unfinished_and_other_files_are_passed_over(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, name, clip=clip("a", 0, 1)) == []


def test_a_path_of_the_annotations_names_a_file_below_the_folder(tmp_path: Path) -> None:
    files = ("x y/v_a.avi", "z/v_a.avi")
    for path in ("x y/v_a.avi", "./x y//v_a.avi", "z/../x y/v_a.avi", "x y/v_a"):
        assert found(tmp_path, *files, clip=clip("v_a", 1, 2, path)) == [("x y/v_a.avi", 0)]


def test_a_path_may_leave_out_folders_where_one_file_only_is_meant(tmp_path: Path) -> None:
    assert found(tmp_path, "x/a.avi", clip=clip("a", path="a.avi")) == [("x/a.avi", 0)]
    assert found(tmp_path, "y/a.avi", clip=clip("a", path="a.avi")) == []


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("x/a.avi", "x/a.mp4"),
        ("a.avi", "deep/er/a.mp4"),
        ("x/a.mp4", "x/a.lrv"),
        ("x/a.lrv", "x/a.lrv"),
        ("x/a", "x/a.lrv"),
        ("x/a.b.avi", "x/a.b.MKV"),
        ("x/u\u0308n\u0131 c\u00f6d\u00e9.mp4", "x/\u00fcn\u0131 co\u0308de\u0301.webm"),
    ],
)
def test_a_path_finds_the_file_of_its_stem_whatever_the_suffix_and_the_form_of_its_accents(
    tmp_path: Path, path: str, file: str
) -> None:
    assert found(tmp_path, file, "x/other.mp4", clip=clip("a", path=path)) == [(file, 0)]


@pytest.mark.parametrize("path", ["x/a.json", "x/my.clip", "x/a.avi.mp4", "y/a.avi"])
def test_a_path_of_another_stem_finds_nothing(tmp_path: Path, path: str) -> None:
    assert found(tmp_path, "x/a.mp4", "x/my.mp4", clip=clip("a", path=path)) == []


def test_an_id_finds_a_file_of_any_suffix_but_prefers_a_known_one(tmp_path: Path) -> None:
    assert found(tmp_path, "x/a_000001_000002.lrv", clip=clip("a", 1, 2)) == [("x/a_000001_000002.lrv", 1)]
    assert found(tmp_path, "x/a_000001_000002.mkv", clip=clip("a", 1, 2)) == [("x/a_000001_000002.mkv", 1)]


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        (("x/a.mp4", "x/a.mkv"), clip("a")),
        (("x/a.mp4", "x/a.mkv"), clip("a", path="x/a.avi")),
        (("x/a.mp4", "x/a.mkv"), clip("a", path="a")),
        (("x/a_000001_000002.mp4", "x/a_000001_000002.webm"), clip("a", 1, 2)),
        (("x/\u00e9.mp4", "x/e\u0301.mp4"), clip("v", path="x/\u00e9.mp4")),
    ],
)
def test_two_files_that_differ_only_in_suffix_or_accents_are_an_error_that_names_both(
    tmp_path: Path, files: tuple[str, str], asked: Clip
) -> None:
    with pytest.raises(UserError) as error:
        found(tmp_path, *files, clip=asked)
    assert all(ascii(file) in str(error.value) for file in files)
    assert "\n" not in str(error.value)


def test_a_full_path_chooses_between_two_suffixes(tmp_path: Path) -> None:
    assert found(tmp_path, "x/a.mp4", "x/a.mkv", clip=clip("a", path="x/a.mkv")) == [("x/a.mkv", 0)]


def test_files_found_by_another_suffix_are_told_once_with_their_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b.mp4", "c.avi"):
        (tmp_path / name).touch()
    asked = [clip(name, path=f"{name}.avi") for name in "abcd"]
    assert held(FolderSource(tmp_path, "videos"), asked) == {"a", "b", "c"}
    assert [record.getMessage() for record in caplog.records] == [
        "source 'videos': 2 files have another suffix than the annotations say, as 'a.mp4' for 'a.avi'"
    ]


def test_a_path_to_a_trimmed_file_begins_at_the_clip(tmp_path: Path) -> None:
    name = "jumping/abc_000010_000020.mp4"
    assert found(tmp_path, name, clip=clip("abc_000010_000020", 10, 20, name)) == [(name, 10)]


@pytest.mark.parametrize(
    "path", ["../secret.mp4", "/etc/passwd", "x/../../secret.mp4", "{secret}", "link/../secret.mp4"]
)
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "root"
    (root / "x").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    asked = clip("secret", path=path.format(secret=tmp_path / "secret.mp4"))
    assert FolderSource(root).candidates(asked) == []


def test_folders_linked_in_a_circle_are_entered_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "x").mkdir(parents=True)
    (root / "x" / "a.mp4").touch()
    (root / "x" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "x")
    (root / "self").symlink_to(root / "self")
    (root / "dangling.mp4").symlink_to(root / "nothing")
    source = FolderSource(root)
    assert len(source) == 1
    assert len(source.candidates(clip("a"))) == 1


def test_files_linked_from_elsewhere_belong_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "big disk" / "a.mp4").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "videos").symlink_to(tmp_path / "big disk")
    assert len(FolderSource(tmp_path / "root").candidates(clip("a", path="videos/a.mp4"))) == 1


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of a user without privileges, as whom the test then runs."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    if os.geteuid() != 0:
        yield folder
    else:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        yield folder
        os.seteuid(0)
    for path in folder.rglob("*"):
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_read_is_named_and_the_others_are_used(as_nobody: Path) -> None:
    for name in ("open", "shut"):
        (as_nobody / name).mkdir()
        (as_nobody / name / f"{name}.mp4").touch()
    (as_nobody / "shut").chmod(0)
    source = FolderSource(as_nobody)
    assert source.unreadable == ["shut"]
    assert len(source.candidates(clip("open"))) == 1
    (as_nobody / "shut").chmod(0o700)


def test_a_source_that_is_no_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nothing", "file"):
        with pytest.raises(UserError, match=f"{name}.*is not a folder; allowed: "):
            FolderSource(tmp_path / name)


def test_a_source_travels_to_the_workers_with_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    source = FolderSource(tmp_path)
    (tmp_path / "a.mp4").unlink()
    assert pickle.loads(pickle.dumps(source)).candidates(clip("a")) == source.candidates(clip("a"))


def test_records_call_a_source_by_the_folders_name_and_not_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    assert FolderSource(tmp_path / "videos").candidates(clip("a"))[0].source == "videos"
