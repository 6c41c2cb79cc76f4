"""The demo's server: whole files, ranges, and a log of who was asked for."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.demo.server import VideoServer, serving

DATA = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VideoServer]:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/known-00000.mp4").write_bytes(DATA)
    (tmp_path / "secret.mp4").write_bytes(b"not served")
    with serving(tmp_path / "videos", tmp_path / "server.log") as server:
        yield server


def _get(server: VideoServer, video_id: str, asked: str | None = None) -> tuple[int, bytes, str | None]:
    request = urllib.request.Request(server.template.format(video_id=video_id))
    if asked is not None:
        request.add_header("Range", asked)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers["Content-Range"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["Content-Range"]


def test_a_video_is_served_whole(server: VideoServer):
    assert _get(server, "known-00000") == (200, DATA, None)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=10000-", 10000, 10239), ("bytes=-40", 10200, 10239),
     ("bytes=10200-99999", 10200, 10239)],
)  # fmt: skip
def test_a_range_is_served_as_asked(server: VideoServer, asked: str, first: int, last: int):
    assert _get(server, "known-00000", asked) == (206, DATA[first : last + 1], f"bytes {first}-{last}/10240")


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=5-4", "bytes=-", "lines=1-2"])
def test_a_range_that_cannot_be_is_refused_with_the_size(server: VideoServer, asked: str):
    assert _get(server, "known-00000", asked) == (416, b"", "bytes */10240")


@pytest.mark.parametrize("video_id", ["absent-0000", "../secret", "..%2fsecret", "..", "known-00000.mp4/x"])
def test_nothing_else_is_served(server: VideoServer, video_id: str):
    assert _get(server, video_id)[:2] == (404, b"")


def test_every_request_is_logged_in_order(server: VideoServer, tmp_path: Path):
    _get(server, "known-00000")
    _get(server, "absent-0000")
    _get(server, "known-00000", "bytes=5-")
    assert server.requests() == [(200, "known-00000"), (404, "absent-0000"), (206, "known-00000")]
    lines = (tmp_path / "server.log").read_text().splitlines()
    assert lines == ["200 known-00000", "404 absent-0000", "206 known-00000"]
