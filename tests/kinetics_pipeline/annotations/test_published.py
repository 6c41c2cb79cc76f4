"""Kinetics by name, against a copy on this machine."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kinetics_pipeline.annotations import published
from kinetics_pipeline.annotations.files import open_annotations
from kinetics_pipeline.annotations.published import PUBLISHED, Published
from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.errors import UserError

HEADER = "label,youtube_id,time_start,time_end,split\n"


class Copy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.path)  # type: ignore[attr-defined]
        data = server.files.get(self.path)  # type: ignore[attr-defined]
        if isinstance(data, str):
            self.send_response(302)
            self.send_header("Location", data)
            self.end_headers()
            return
        if data is None:
            self.send_error(404)
            return
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        server.sent.append(self.path)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def copy() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Copy) as server:
        server.files, server.asked, server.sent = {}, [], []  # type: ignore[attr-defined]
        server.base = f"http://127.0.0.1:{server.server_port}/k"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def rows(video: str, split: str, header: str = HEADER) -> bytes:
    return f"{header}run,{video},1,11,{split}\n".encode()


def k400(base: str) -> dict[str, bytes]:
    return {f"/k/400/annotations/{split}.csv": rows(f"{split}_video", split) for split in ("train", "val", "test")}


def test_a_name_reads_the_mirrors_own_annotations_and_an_unchanged_file_is_not_sent_again(copy, tmp_path: Path, caplog):
    copy.files = k400(copy.base)
    for _ in range(2):
        annotations = load_annotations(["kinetics-400"], mirror=copy.base + "/", cache=tmp_path)
        assert sorted(annotations.table["split"]) == ["test", "train", "val"]
        assert annotations.hashes["val.csv"] == hashlib.sha256(copy.files["/k/400/annotations/val.csv"]).hexdigest()
    assert len(copy.asked) == 6
    assert len(copy.sent) == 3
    assert [r.getMessage() for r in caplog.records] == [
        "kinetics-400: annotations by Google DeepMind, CC BY 4.0 as stated there"
    ]


def test_a_file_that_changed_is_said_and_read(copy, tmp_path: Path, caplog):
    copy.files = k400(copy.base)
    before = load_annotations(["kinetics-400"], mirror=copy.base, cache=tmp_path)
    copy.files["/k/400/annotations/val.csv"] = rows("other", "val")
    after = load_annotations(["Kinetics-400"], mirror=copy.base, cache=tmp_path)
    assert "other" in set(after.table["video_id"])
    assert "400/annotations/val.csv has changed: its SHA-256 was" in caplog.text
    (line,) = after.changed_since(before.hashes)
    assert line.startswith("val.csv is another file than the one the dataset was begun with")


def test_without_a_server_the_cache_is_read_and_without_a_cache_the_server_is_named(copy, tmp_path: Path, caplog):
    copy.files = k400(copy.base)
    load_annotations(["kinetics-400"], mirror=copy.base, cache=tmp_path)
    copy.shutdown()
    copy.server_close()
    assert len(load_annotations(["kinetics-400"], mirror=copy.base, cache=tmp_path).table) == 3
    assert "the copy in the cache is read" in caplog.text
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*no connection") as error:
        load_annotations(["kinetics-400"], mirror=copy.base, cache=tmp_path / "other")
    assert "\n" not in str(error.value)


def test_of_kinetics_600_the_complete_text_files_are_read(copy, tmp_path: Path):
    text = b"--ISsGfWsqI 67 77 pull ups\n"
    copy.files = {
        "/k/600/annotations/train.txt": text,
        "/k/600/annotations/train.csv": rows("incomplete", "train"),
        "/k/600/annotations/val.csv": rows("only_a_csv", "val"),
        "/k/600/annotations/test.csv": rows("t", "test"),
    }
    table = load_annotations(["kinetics-600"], mirror=copy.base, cache=tmp_path).table
    assert table["video_id"].tolist() == ["--ISsGfWsqI", "only_a_csv", "t"]
    del copy.files["/k/600/annotations/test.csv"]
    with pytest.raises(UserError, match=r"600/annotations/test\.csv: the server has none \(404\)"):
        load_annotations(["kinetics-600"], mirror=copy.base, cache=tmp_path)


def test_without_a_mirror_the_official_archive_is_read(copy, tmp_path: Path, monkeypatch):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("kinetics400/val.csv")
        info.size = len(rows("v", "val"))
        archive.addfile(info, io.BytesIO(rows("v", "val")))
    copy.files = {"/k/kinetics400.tar.gz": stream.getvalue()}
    monkeypatch.setitem(PUBLISHED, "kinetics-400", Published(f"{copy.base}/kinetics400.tar.gz"))
    assert load_annotations(["kinetics-400"], cache=tmp_path).table["video_id"].tolist() == ["v"]


def test_a_version_whose_annotations_no_copy_has_takes_the_official_ones(copy, tmp_path: Path, monkeypatch, caplog):
    copy.files = {"/k/700.csv": rows("v", "val")}
    monkeypatch.setitem(PUBLISHED, "kinetics-700", Published(f"{copy.base}/700.csv"))
    found = load_annotations(["kinetics-700"], mirror=f"{copy.base}/university", cache=tmp_path)
    assert found.table["video_id"].tolist() == ["v"]
    assert "--mirror counts for its archives alone" in caplog.text


@pytest.mark.parametrize("name", ["kinetics-500", "kinetics400", "K700_2020"])
def test_a_version_that_nobody_knows_is_told_with_those_that_are(name: str):
    with pytest.raises(UserError, match=f"{name}: there is no such file or version; allowed names: kinetics-400, kin"):
        open_annotations(name)


def test_a_file_of_that_name_is_a_file(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("kinetics-400").mkdir()
    (tmp_path / "kinetics-400" / "run").mkdir()
    (tmp_path / "kinetics-400" / "run" / "a.mp4").touch()
    assert load_annotations(["kinetics-400"]).table["label"].tolist() == ["run"]


def test_a_redirect_to_another_private_address_is_not_followed(copy, tmp_path: Path):
    copy.files = {"/k/400/annotations/train.csv": "http://127.0.0.2:9/secret.csv"}
    with pytest.raises(UserError, match=r"redirected to the private address 127\.0\.0\.2"):
        load_annotations(["kinetics-400"], mirror=copy.base, cache=tmp_path)
    copy.files = {"/a.csv": "/b.csv", "/b.csv": rows("v", "val")}
    base = copy.base.removesuffix("/k")
    assert len(load_annotations([f"{base}/a.csv"]).table) == 1


def test_other_numbers_than_the_known_ones_are_told_and_whose_they_are():
    assert published.against_known_counts("kinetics-400", {"train": 219_561, "val": 19_906}) == [
        "kinetics-400: the lists have 219,561 clips of train; 246,534 were published"
    ]
    assert published.against_known_counts("Kinetics-700-2020", {"val": 34_178}) == []
    (line,) = published.against_known_counts("kinetics-600", {"val": 28_318})
    assert line.endswith("28,318 clips of val; 30,000 were published; DeepMind's lists of 2022 have that number")


def test_every_count_has_a_source_and_no_later_list_is_longer_than_the_published_one():
    for version in PUBLISHED.values():
        first, *later = version.known
        assert set(first.clips) == {"train", "val", "test"}
        assert set(version.in_copy) <= set(first.clips)
        assert all(one.source.startswith(("https://", "train: https://")) for one in version.known)
        assert all(one.clips[split] <= first.clips[split] for one in later for split in one.clips)
