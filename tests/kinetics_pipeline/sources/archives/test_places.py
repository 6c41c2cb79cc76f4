"""Archives in object stores and in Hugging Face datasets: listed, fetched, resumed; a token goes to its own server."""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.sources.archives.copies import Address, is_copy
from kinetics_pipeline.sources.archives.fetch import Fetcher, GivenUp
from kinetics_pipeline.sources.archives.places import archives_at, typed_address
from kinetics_pipeline.sources.objects import bucket
from kinetics_pipeline.sources.objects.videos import objects_below
from kinetics_pipeline.storage.open_store import open_store
from tests.builders.answers import Answers
from tests.builders.fake_gcs import fake_gcs

TOKEN = "hf_secret"
FILES = ["README.md", "videos/part 1 (a).tar.part-001", "videos/part 1 (a).tar.part-002", "videos/x.zip", "other/y.tar"]


class HuggingFace(ThreadingHTTPServer):
    """A dataset that is gated: listings in pages of two, files by a redirect to another server (the CDN)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.cdn = f"http://localhost:{self.server_port}"
        self.tokens: list[tuple[str, str | None]] = []


class _Answer(Answers):
    server: HuggingFace

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        token = self.headers.get("Authorization")
        self.server.tokens.append((parts.path, token))
        if parts.path.startswith("/cdn/"):
            self._say(200, b"bytes of " + parts.path.encode(), ETag='"1"')
        elif token != f"Bearer {TOKEN}":
            self._say(401, b"")
        elif "/resolve/" in parts.path:
            self._say(302, b"", Location=f"{self.server.cdn}/cdn{parts.path}")
        elif parts.path.startswith("/api/datasets/me/kinetics/tree/main"):
            below = parts.path.removeprefix("/api/datasets/me/kinetics/tree/main").strip("/")
            files = [name for name in FILES if name.startswith(below)]
            begin = int(parts.query.partition("cursor=")[2] or 0)
            entries = [{"type": "file", "path": name, "size": 5} for name in files[begin : begin + 2]]
            more = f'<{self.server.base}{parts.path}?recursive=true&cursor={begin + 2}>; rel="next"'
            headers = {"Link": more} if begin + 2 < len(files) else {}
            self._say(200, json.dumps([{"type": "directory", "path": "videos"}, *entries]).encode(), **headers)
        else:
            self._say(404, b"")

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HuggingFace]:
    with HuggingFace() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "token").write_text(f"{TOKEN}\n")
        yield server
        server.shutdown()


def test_a_dataset_of_hugging_face_is_listed_page_by_page_with_the_token_where_its_tools_keep_it(
    hub: HuggingFace,
) -> None:
    files = f"{hub.base}/datasets/me/kinetics/resolve/main"
    part = f"{files}/videos/part%201%20%28a%29.tar.part-00"
    assert archives_at("hf://datasets/me/kinetics/videos") == [f"{part}1", f"{part}2", f"{files}/videos/x.zip"]
    assert len(archives_at("hf://datasets/me/kinetics")) == 4
    assert archives_at("hf://datasets/me/kinetics/other/y.tar") == [f"{files}/other/y.tar"]
    assert is_copy("hf://datasets/me/kinetics")


def test_its_files_are_fetched_and_the_token_goes_to_no_other_server(hub: HuggingFace, tmp_path: Path) -> None:
    (url,) = archives_at("hf://datasets/me/kinetics/other")
    fetcher = Fetcher([typed_address("hf://datasets/me/kinetics"), hub.cdn], False)
    seen = fetcher.look(Address(url))
    path = fetcher.fetch(Address(url), tmp_path / "y.tar")
    assert seen.size == path.stat().st_size
    assert path.read_bytes() == b"bytes of /cdn/datasets/me/kinetics/resolve/main/other/y.tar"
    elsewhere = [token for asked, token in hub.tokens if asked.startswith("/cdn/")]
    assert elsewhere == [None, None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hf://me/kinetics", "not a dataset"),
        ("hf://datasets/me", "not a dataset"),
        ("hf://datasets/me/kinetics/../../other", "not a dataset"),
        ("hf://datasets/you/kinetics", "no such dataset"),
        ("hf://datasets/me/kinetics/README.md", "holds no archives"),
    ],
)
def test_a_place_that_is_none_is_one_line(hub: HuggingFace, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        archives_at(text)
    assert "\n" not in str(refused.value)


def test_a_gated_dataset_without_a_token_says_where_to_put_one(
    hub: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "another")
    with pytest.raises(UserError, match="set HF_TOKEN, and accept the terms") as refused:
        archives_at("hf://datasets/me/kinetics")
    assert "another" not in str(refused.value)


def test_a_hub_that_is_not_there_leaves_the_work_to_the_same_command(
    hub: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WorkRemains, match="cannot be reached"):
        archives_at("hf://datasets/me/kinetics")


@contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("moto.server")
    from tests.builders.faulty_s3 import faulty_s3

    with faulty_s3() as (endpoint, _):
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        name = f"bucket-{uuid.uuid4().hex}"
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")):
            pass
        yield f"s3://{name}"


@contextmanager
def gs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with fake_gcs() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.base)
        yield "gs://bucket"


@pytest.fixture(params=[s3, gs])
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with two archives below a prefix."""
    with request.param(monkeypatch) as uri:
        bucket.open_bucket.cache_clear()
        objects_below.cache_clear()
        store = open_store(uri)
        store.write("k/train/part_0.tar.gz", b"a" * 3_000_000)
        store.write("k/replacement.tgz", b"b" * 10)
        store.write("k/._part_0.tar.gz", b"junk")
        store.write("loose/abc.mp4", b"video")
        yield uri


def test_archives_of_a_bucket_are_listed_fetched_resumed_to_the_byte_and_never_glued(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_copy(f"{stored}/k")
    assert is_copy(f"{stored}/k/train/part_0.tar.gz")
    assert not is_copy(f"{stored}/loose")
    assert not is_copy(f"{stored}/loose/{{video_id}}.mp4")
    urls = archives_at(f"{stored}/k/")
    assert urls == [f"{stored}/k/replacement.tgz", f"{stored}/k/train/part_0.tar.gz"]
    fetcher = Fetcher([], False)
    address = Address(urls[1])
    assert fetcher.look(address).size == 3_000_000
    path = tmp_path / "cache/part_0.tar.gz"
    asked: list[int] = []
    read = bucket.Bucket.read

    def some(self: bucket.Bucket, key: str, begin: int, version: str) -> Iterator[bytes]:
        asked.append(begin)
        yield from (
            (block[:1000] for block in read(self, key, begin, version))
            if len(asked) == 1
            else read(self, key, begin, version)
        )

    monkeypatch.setattr(bucket.Bucket, "read", some)
    fetcher.fetch(address, path)
    assert path.read_bytes() == b"a" * 3_000_000
    assert asked[0] == 0
    assert len(asked) == 2
    assert 0 < asked[1] < 3_000_000
    with pytest.raises(GivenUp, match="404"):
        fetcher.fetch(Address(f"{stored}/k/none.tar"), tmp_path / "cache/none.tar")
