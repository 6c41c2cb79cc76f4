"""Archives from a server: whole, resumed to the byte, and given up where there are none."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.archives import fetch as fetching
from kinetics_pipeline.sources.archives.copies import (
    PUBLIC_COPY,
    Address,
    addresses_in,
    is_copy,
    lists_of,
    mirrored,
    quoted,
)
from kinetics_pipeline.sources.archives.fetch import NOTHING_THERE, Fetcher, GivenUp, NobodyThere, Seen
from kinetics_pipeline.sources.archives.listed import require_readable
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, served

DATA = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackArchives]:
    monkeypatch.setattr(fetching, "WAIT", 0.01)
    with served() as server:
        yield server


def fetcher(copy: LoopbackArchives) -> Fetcher:
    return Fetcher([copy.base], False)


def address(copy: LoopbackArchives, path: str) -> Address:
    url = quoted(copy.base + path)
    assert url is not None
    return Address(url)


def test_archives_are_fetched_once_and_keep_their_names(copy: LoopbackArchives, tmp_path: Path) -> None:
    paths = ["/k/air drumming (a).tar.gz", "/k/b.tar", "/k/b.tar.part-002"]
    copy.files = {path: DATA[number:] for number, path in enumerate(paths)}
    addresses = [address(copy, path) for path in paths]
    for _ in range(2):
        found = [fetcher(copy).fetch(one, tmp_path / one.name) for one in addresses]
        assert [path.name for path in found] == ["air drumming (a).tar.gz", "b.tar", "b.tar.part-002"]
        assert [path.read_bytes() for path in found] == list(copy.files.values())
    assert sorted(copy.gets) == [(path, 0) for path in sorted(paths)]


def test_a_connection_that_breaks_off_is_gone_on_with_to_the_byte(copy: LoopbackArchives, tmp_path: Path) -> None:
    copy.files, copy.breaks = {"/a.tar": DATA}, {"/a.tar": [1_500_000, 0, 700_001, 0, 0]}
    path = fetcher(copy).fetch(address(copy, "/a.tar"), tmp_path / "a.tar")
    assert path.read_bytes() == DATA
    assert copy.asked("/a.tar") == [0, 1_500_000, 1_500_000, 2_200_001, 2_200_001, 2_200_001]
    assert [one.name for one in path.parent.iterdir()] == ["a.tar"]


def test_what_a_killed_run_left_is_gone_on_with(copy: LoopbackArchives, tmp_path: Path) -> None:
    copy.files, copy.breaks = {"/a.tar": DATA}, {"/a.tar": [2_000_000, *[0] * 20]}
    with pytest.raises(NobodyThere, match="breaks off at byte 2,000,000"):
        fetcher(copy).fetch(address(copy, "/a.tar"), tmp_path / "a.tar")
    copy.breaks, copy.gets = {}, []
    path = fetcher(copy).fetch(address(copy, "/a.tar"), tmp_path / "a.tar")
    assert path.read_bytes() == DATA
    assert copy.asked("/a.tar") == [2_000_000]


@pytest.mark.parametrize("left", [DATA, DATA[:1000] + b"x"])
@pytest.mark.parametrize("says_size", [True, False])
def test_a_part_that_is_whole_and_one_of_another_version(
    copy: LoopbackArchives, tmp_path: Path, left: bytes, says_size: bool
) -> None:
    other = left != DATA
    copy.files = {"/a.tar": DATA}
    (tmp_path / "a.tar.part").write_bytes(left)
    version = '"another"' if other else f'"{hashlib.sha256(DATA).hexdigest()[:16]}"'
    (tmp_path / "a.tar.part.json").write_text(json.dumps([version, len(DATA) if says_size else None]))
    assert fetcher(copy).fetch(address(copy, "/a.tar"), tmp_path / "a.tar").read_bytes() == DATA
    assert copy.asked("/a.tar") == ([0] if other else [] if says_size else [len(DATA)])


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/gone.tar", "404 Not Found"), ("/forbidden.tar", "403 Forbidden"), ("/a.tar", "more than the 1000 that")],
)
def test_an_archive_that_is_not_given_is_given_up_with_the_reason(
    copy: LoopbackArchives, tmp_path: Path, path: str, reason: str
) -> None:
    copy.files = {"/a.tar": DATA, "/forbidden.tar": 403}
    with pytest.raises(GivenUp, match=reason):
        fetcher(copy).fetch(address(copy, path), tmp_path / "x.tar", most=1000)


def test_a_server_that_is_down_says_nothing_of_an_archive(copy: LoopbackArchives, tmp_path: Path) -> None:
    copy.shutdown()
    copy.server_close()
    with pytest.raises(NobodyThere, match="no connection"):
        fetcher(copy).fetch(address(copy, "/a.tar"), tmp_path / "a.tar")
    with pytest.raises(NobodyThere, match="no connection"):
        fetcher(copy).look(address(copy, "/a.tar"))


def test_an_address_in_a_private_network_that_nobody_typed_is_not_asked(copy: LoopbackArchives, tmp_path: Path) -> None:
    copy.files = {"/a.tar": DATA}
    stranger = Fetcher(["https://example.invalid"], False)
    with pytest.raises(GivenUp, match="is a private address"):
        stranger.fetch(address(copy, "/a.tar"), tmp_path / "a.tar")
    assert stranger.look(address(copy, "/a.tar")) == NOTHING_THERE
    assert copy.gets == []
    assert Fetcher([], True).fetch(address(copy, "/a.tar"), tmp_path / "a.tar").exists()


def test_size_and_version_are_known_before_anything_is_fetched(copy: LoopbackArchives) -> None:
    copy.files = {"/a.tar": DATA}
    version = f'"{hashlib.sha256(DATA).hexdigest()[:16]}"'
    copy.files["/empty.tar"] = b""
    names = ("/a.tar", "/none.tar", "/empty.tar")
    assert [fetcher(copy).look(address(copy, name)) for name in names] == [
        Seen(len(DATA), version),
        *[NOTHING_THERE] * 2,
    ]
    assert copy.gets == []
    copy.only_get = True
    assert [fetcher(copy).look(address(copy, name)) for name in names] == [
        Seen(len(DATA), version),
        *[NOTHING_THERE] * 2,
    ]


def test_what_was_not_there_is_not_fetched_beyond_what_was_counted(copy: LoopbackArchives, tmp_path: Path) -> None:
    copy.files = {"/a.tar": DATA}
    with pytest.raises(GivenUp, match="nothing was there when the archives were listed; --retry not_found looks again"):
        fetcher(copy).fetch(address(copy, "/a.tar"), tmp_path / "a.tar", most=0)


def test_lists_name_archives_and_a_mirror_replaces_the_addresses_in_them() -> None:
    text = f"{PUBLIC_COPY}/600/train/air drumming (a).tar.gz\r\n\n# note\nhttps://other/b.zip\n{PUBLIC_COPY}/400/r_replacement.tgz\n"
    found = addresses_in(text, "list.txt", "http://mine:81/k/")
    assert [one.url for one in found] == [
        "http://mine:81/k/600/train/air%20drumming%20%28a%29.tar.gz",
        "https://other/b.zip",
        "http://mine:81/k/400/r_replacement.tgz",
    ]
    assert [one.name for one in found] == ["air drumming (a).tar.gz", "b.zip", "r_replacement.tgz"]
    assert [one.replaces for one in found] == [False, False, True]


def test_a_list_may_name_files_beside_it_and_several_addresses_a_line() -> None:
    text = "part 1.tar.gz\nhttps://h/a b.tar  HTTPS://h/c.zip\n./d/x.tgz\nhttps://h/100%.tar\n"
    assert [one.url for one in addresses_in(text, "https://u/k/list.txt", None)] == [
        "https://u/k/part%201.tar.gz",
        "https://h/a%20b.tar",
        "https://h/c.zip",
        "https://u/k/d/x.tgz",
        "https://h/100%25.tar",
    ]


def test_what_only_looks_like_a_part_is_named_and_never_passed_over() -> None:
    names = ["x.tar", "x.tar.1", "y.tar.gz.ab", "y.tar.gz.aa"]
    require_readable([Address(f"https://h/{name}") for name in names], "list l")
    with pytest.raises(UserError, match=r"list l: 'z\.tar\.xz' is not an archive that is read; allowed: \.tar"):
        require_readable([Address("https://h/z.tar.xz")], "list l")


@pytest.mark.parametrize(
    "line", ["file:///etc/x.tar", "x.tar", "https://host/page.html", "http://[bad/x.tar", "\x1b[2J"]
)
def test_a_line_that_is_no_address_of_an_archive_is_named(line: str) -> None:
    with pytest.raises(UserError, match="list l, line 2: ") as error:
        addresses_in(f"\n{line}\n", "l", None)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("cvdf", True),
        ("CVDF", True),
        ("https://host/a b.tar.gz", True),
        ("https://host/x.tar.gz.0000", True),
        ("http://host/k400_val_path.txt", True),
        ("https://host/{video_id}.tar", False),
        ("https://host/videos", False),
        ("youtube", False),
        ("folder/x.tar", False),
        ("http://[bad/x.tar", False),
    ],
)
def test_which_sources_are_copies(text: str, copy: bool) -> None:
    assert is_copy(text) is copy


def test_a_version_has_the_lists_of_the_splits_asked_for_and_replacements_go_with_them() -> None:
    lists, replacements = lists_of("kinetics-400", ["val"])
    assert lists == [f"{PUBLIC_COPY}/400/val/k400_val_path.txt"]
    assert [one.url for one in replacements] == [f"{PUBLIC_COPY}/400/replacement_for_corrupted_k400.tgz"]
    assert lists_of("Kinetics-400", ["test"])[1] == []
    assert len(lists_of("kinetics-700-2020", None)[0]) == 3
    assert lists_of("kinetics-700", None) == lists_of("kinetics-700-2020", None), "the videos of both lie together"
    with pytest.raises(UserError, match="has no kinetics-500; allowed: kinetics-400"):
        lists_of("kinetics-500", None)
    assert mirrored("https://s3.amazonaws.com/kinetics-x/a", "http://m") == "https://s3.amazonaws.com/kinetics-x/a"


def test_an_archives_name_is_never_a_path() -> None:
    for url in ("https://h/%2e%2e%2f%2e%2e%2fetc", "https://h/..", "https://h/", "https://h/a%00b.tar"):
        name = Address(url).name
        assert name == Path(name).name
        assert name not in ("", ".", "..")
        assert name.isprintable()
