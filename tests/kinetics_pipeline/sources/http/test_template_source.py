"""A URL template: one GET a file, resumed and never glued, every answer an outcome, and no way to other addresses."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources import parse_source
from kinetics_pipeline.sources.base import Download
from kinetics_pipeline.sources.child_process import KillableChild
from kinetics_pipeline.sources.http.template import UrlTemplate
from kinetics_pipeline.sources.options import SourceOptions
from tests.fake_youtube import Faults, FileServer

ID = "abc.-_1"
SIZE = 1_500_000
OPTIONS = SourceOptions(timeout=0.4, ytdlp_options={"retries": 0})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / f"{ID}.mp4").write_bytes(random.Random(1).randbytes(SIZE))
    with FileServer(folder) as one:
        yield one


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def clip(start: float | None = 5, end: float | None = 15, video_id: str = ID) -> Clip:
    return Clip(clip_id(video_id, start, end), video_id, start, end, "running", "train")


def ask(server: FileServer, cache: Path, options: SourceOptions = OPTIONS) -> Download:
    return UrlTemplate(server.template, options).download(ID, [clip(), clip(20, 30)], cache)


def file_of(answer: Download) -> Path:
    assert answer.failure is None, answer.failure
    (path,) = {media.path for media in answer.media.values()}
    return path


def served(server: FileServer) -> bytes:
    return (server.folder / f"{ID}.mp4").read_bytes()


def test_all_clips_of_a_video_are_one_get_and_none_when_asked_again(server: FileServer, cache: Path) -> None:
    answer = ask(server, cache)
    assert file_of(answer).read_bytes() == served(server)
    assert set(answer.media) == {clip().clip_id, clip(20, 30).clip_id}
    assert (answer.requests, answer.bytes_fetched, answer.bytes_whole) == (1, SIZE, SIZE)
    again = ask(server, cache)
    assert (file_of(again), again.requests) == (file_of(answer), 0)
    assert [request.range for request in server.log] == [None]


def test_a_killed_download_goes_on_from_the_bytes_it_had(server: FileServer, cache: Path) -> None:
    server.default = Faults("slow", rate=1_000_000, times=1)
    source = UrlTemplate(server.template, OPTIONS)
    with KillableChild() as child, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(child.download, source, ID, [clip()], cache, 120)
        deadline = time.monotonic() + 100
        while not any(part.stat().st_size for part in cache.glob("*.part")):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assert answer.result().failure is not None
    (part,) = cache.glob("*.part")
    had = part.stat().st_size
    assert 0 < had < SIZE
    answer = ask(server, cache)
    assert file_of(answer).read_bytes() == served(server)
    assert server.log[-1].range == f"bytes={had}-"
    assert answer.bytes_fetched == SIZE - had


@pytest.mark.parametrize("kind", ["truncate", "reset", "stall_mid"])
def test_a_cut_answer_is_never_done_and_goes_on_in_the_same_call(server: FileServer, cache: Path, kind: str) -> None:
    server.default = Faults(kind, times=1)
    first = ask(server, cache)
    assert first.failure is not None
    assert first.failure.outcome == "network"
    assert not list(cache.glob("*.mp4"))
    server._hits.clear()
    answer = ask(server, cache, replace(OPTIONS, ytdlp_options={"retries": 1}))
    assert file_of(answer).read_bytes() == served(server)
    starts = [int(request.range[6:-1]) if request.range else 0 for request in server.log]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("same_size", [True, False])
def test_two_versions_of_a_file_are_never_glued(server: FileServer, cache: Path, same_size: bool) -> None:
    server.default = Faults("truncate", times=1)
    ask(server, cache)
    path = server.folder / f"{ID}.mp4"
    path.write_bytes(random.Random(2).randbytes(SIZE if same_size else SIZE - 1000))
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert file_of(ask(server, cache)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["shifted", "longer", "other_total"])
def test_a_range_that_is_not_the_one_asked_for_is_never_kept(server: FileServer, cache: Path, kind: str) -> None:
    server.default = Faults("truncate")
    ask(server, cache)
    server.default = Faults(kind)
    assert ask(server, cache).failure is not None
    server.default = Faults()
    assert file_of(ask(server, cache)).read_bytes() == served(server)


def test_a_server_without_ranges_sends_all_again(server: FileServer, cache: Path) -> None:
    server.default = Faults("truncate", times=1)
    ask(server, cache)
    server.default = Faults("norange")
    assert file_of(ask(server, cache)).read_bytes() == served(server)


def test_a_file_of_unannounced_length_is_whole_at_its_end(server: FileServer, cache: Path) -> None:
    server.default = Faults("no_length")
    assert file_of(ask(server, cache)).read_bytes() == served(server)
    assert ask(server, cache).requests == 0


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        *((Faults(status), "not_found") for status in ("404", "410")),
        *((Faults(status), "private") for status in ("401", "403")),
        (Faults("451"), "geo_blocked"),
        *((Faults(status), "network") for status in ("400", "500", "502", "503")),
        (Faults("429"), "throttled"),
        (Faults("503", headers={"Retry-After": "5"}), "throttled"),
        *((Faults(kind), "network") for kind in ("stall", "html", "page", "empty")),
    ],
)
def test_each_answer_of_a_server_has_its_outcome(server: FileServer, cache: Path, fault: Faults, outcome: str) -> None:
    server.default = fault
    answer = ask(server, cache)
    assert answer.failure is not None
    assert answer.failure.outcome == outcome
    assert not list(cache.glob("*.mp4"))
    assert len(server.log) == 1


def test_a_server_that_is_away_is_a_network_failure(server: FileServer, cache: Path) -> None:
    server.__exit__()
    answer = ask(server, cache)
    assert answer.failure is not None
    assert (answer.failure.outcome, answer.failure.detail) == ("network", "the connection failed")


def test_a_file_beyond_the_limit_is_not_fetched(server: FileServer, cache: Path) -> None:
    for kind in ("ok", "no_length"):
        server.default = Faults(kind)
        answer = ask(server, cache, replace(OPTIONS, max_filesize=SIZE - 1))
        assert answer.failure is not None
        assert answer.failure.outcome == "no_format"
        assert not list(cache.glob("*.mp4"))


def test_a_template_with_times_gives_files_that_begin_at_their_clips(server: FileServer, cache: Path) -> None:
    name = f"{ID}_000005_000015.mp4"
    (server.folder / name).write_bytes(b"trimmed")
    source = UrlTemplate(server.url + "/{video_id}_{time_start:06d}_{time_end:06d}.mp4", OPTIONS)
    answer = source.download(ID, [clip(), clip(20, 30)], cache)
    assert {key: media.offset for key, media in answer.media.items()} == {clip().clip_id: 5.0}
    assert answer.failure is not None
    assert answer.failure.outcome == "not_found"


@pytest.mark.parametrize("video_id", ["..", ".", "-", "a" * 128])
def test_an_id_stays_in_its_place_in_the_url_and_in_the_cache(server: FileServer, cache: Path, video_id: str) -> None:
    source = UrlTemplate(server.url + "/videos/{video_id}/file.mp4?id={video_id}", OPTIONS)
    before = {path for path in cache.parent.rglob("*") if cache not in path.parents}
    source.download(video_id, [clip(video_id=video_id)], cache)
    assert {path for path in cache.parent.rglob("*") if cache not in path.parents} - before <= {cache}
    assert all(request.path.startswith("/videos/") for request in server.log)


def test_the_recorded_name_holds_no_password_and_no_query() -> None:
    source = UrlTemplate("https://user:secret@host.example/{video_id}.mp4?token=secret", OPTIONS)
    assert source.name == "https://host.example/{video_id}.mp4"
    assert "secret" not in source.name


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host.example/{video_id}.mp4",
        "file:///etc/{video_id}",
        "https://host.example/video.mp4",
        "https://host.example/{id}.mp4",
        "https://host.example/{video_id.mp4",
        "https://host.example/{video_id.__class__}.mp4",
        "https://{video_id}.example/x.mp4",
        "https:///{video_id}.mp4",
        "/no/such/folder",
        "no-such-word",
        "",
    ],
)
def test_a_source_that_is_none_is_one_clear_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_source(text, OPTIONS)
    assert text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`host.example` is a private server, at 127.0.0.1."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: real("127.0.0.1" if host == "host.example" else host, *rest, **more),
    )


@pytest.mark.parametrize("place", ["{inside}", "http://host.example:{port}"])
def test_a_redirect_leads_to_no_private_address_unless_allowed(
    server: FileServer, cache: Path, names: None, place: str
) -> None:
    with FileServer(server.folder) as inside:
        server.default = Faults("redirect", location=f"{place.format(inside=inside.url, port=inside.port)}/{ID}.mp4")
        answer = ask(server, cache)
        assert answer.failure is not None
        assert "private address" in answer.failure.detail
        assert not inside.log
        assert file_of(ask(server, cache, replace(OPTIONS, allow_private_addresses=True)))


def test_a_private_host_that_the_user_typed_is_fetched_from(server: FileServer, cache: Path, names: None) -> None:
    source = UrlTemplate(f"http://host.example:{server.port}/{{video_id}}.mp4", OPTIONS)
    assert file_of(source.download(ID, [clip()], cache)).read_bytes() == served(server)


@pytest.mark.parametrize("host", ["10.0.0.1", "[fe80::1]", "0x0a000001", "nas.local"])
def test_a_private_address_may_be_typed(host: str) -> None:
    assert parse_source(f"http://{host}/{{video_id}}.mp4", OPTIONS)


def test_a_probe_asks_for_a_few_bytes_and_keeps_none(server: FileServer, cache: Path) -> None:
    source = UrlTemplate(server.template, OPTIONS)
    cache.mkdir(exist_ok=True)
    assert source.probe(clip(), cache).failure is None
    assert [request.range for request in server.log] == ["bytes=0-0"]
    assert not list(cache.iterdir())
    server.default = Faults("503")
    failure = source.probe(clip(), cache).failure
    assert failure is not None
    assert failure.outcome == "network"
