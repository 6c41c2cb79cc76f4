"""Where annotation files may lie, and what is said when they cannot be read."""

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kinetics_pipeline.annotations import download as annotation_download
from kinetics_pipeline.annotations import files as annotation_files
from kinetics_pipeline.annotations.table import load_annotations, read_annotations, read_labels
from kinetics_pipeline.errors import UserError

TRAIN = b"label,youtube_id,time_start,time_end\nrun,a,1,2\n"
VAL = b"label,youtube_id,time_start,time_end\nrun,b,1,2\n"
VAL_JSON = b'{"from_json": {"annotations": {"label": "run", "segment": [1, 2]}}}'


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tgz", "tar"])
def test_all_annotation_files_of_an_archive_are_read_and_a_csv_before_its_json(tmp_path: Path, kind):
    members = {
        "k700/val.json": VAL_JSON,
        "k700/val.csv": VAL,
        "k700/train.csv": TRAIN,
        "k700/test.json": VAL_JSON,
        "k700/readme.txt": b"not,annotations\n",
        "__MACOSX/k700/._val.csv": b"\x00\x01",
    }
    path = tmp_path / f"k700.{kind}"
    path.write_bytes(zipped(members) if kind == "zip" else tarred(members, "w" if kind == "tar" else "w:gz"))
    annotations = load_annotations([path])
    assert list(zip(annotations.table["video_id"], annotations.table["split"], strict=True)) == [
        ("from_json", "test"),
        ("a", "train"),
        ("b", "val"),
    ]
    assert annotations.hashes == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_gzipped_files_are_read_alone_and_inside_an_archive(tmp_path: Path):
    (tmp_path / "val.csv.gz").write_bytes(gzip.compress(VAL))
    (tmp_path / "all.zip").write_bytes(zipped({"train.csv.gz": gzip.compress(TRAIN)}))
    table = load_annotations([tmp_path / "val.csv.gz", tmp_path / "all.zip"]).table
    assert list(zip(table["video_id"], table["split"], strict=True)) == [("b", "val"), ("a", "train")]


def test_a_bad_row_in_an_archive_names_the_member(tmp_path: Path):
    (tmp_path / "k.zip").write_bytes(zipped({"x/train.csv": TRAIN + b"run,b,2,1\n"}))
    (bad,) = load_annotations([tmp_path / "k.zip"], on_bad_row="skip").bad_rows
    assert (bad.file, bad.line) == ("k.zip/x/train.csv", 3)


def test_two_files_of_one_name_stay_apart(tmp_path: Path):
    for folder, data in (("k400", TRAIN), ("k600", VAL + b"run,c,2,1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.csv").write_bytes(data)
    annotations = load_annotations([tmp_path / "k400/train.csv", tmp_path / "k600/train.csv"], on_bad_row="skip")
    assert list(annotations.hashes) == ["train.csv", "train.csv (2)"]
    assert annotations.bad_rows[0].file == "train.csv (2)"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b"\n \n", "is empty"),
        ("header.csv", b"label,youtube_id\n", "has no rows"),
        ("no.json", b"{}", "has no rows"),
        ("train.parquet", TRAIN, "no known kind; allowed: .csv, .tsv, .txt, .json"),
        ("train", TRAIN, "no known kind"),
        ("train.csv.gz", TRAIN, "cannot be unpacked"),
        ("train.csv.gz", gzip.compress(TRAIN * 99)[:-20], "cannot be unpacked"),
        ("train.zip", TRAIN, "cannot be unpacked"),
        ("train.tar.gz", gzip.compress(TRAIN), "cannot be unpacked"),
        ("train.tar.gz", tarred({"train.csv": TRAIN * 999})[:-30], "cannot be unpacked"),
        ("readme.zip", zipped({"readme.txt": b"x"}), "holds no .csv or .json file"),
        ("unmarked.csv", TRAIN.decode().encode("utf-16-le"), "looks like UTF-16 without a byte order mark"),
        ("latin.csv", TRAIN + b"caf\xe9,c,1,2\n", r"is not UTF-8 text \(byte 50\)"),
        ("cut16.csv", TRAIN.decode().encode("utf-16")[:-1], "is not UTF-16 text"),
        ("sep.csv", b"sep=#\nvideo_id#label\na#run\n", "says sep='#'; allowed: commas, tabs, semicolons, bars"),
        ("after.json", b"[] []", "not JSON"),
        ("comma.json", b'[{"id": "a"} {"id": "b"}]', "not JSON"),
        ("key.json", b'{a: {"label": "x"}}', "not JSON"),
        ("train.json", b'{"a": ', "not JSON"),
        ("deep.json", b"[" * 100_000, "not JSON"),
        ("number.json", b"7", "neither an object nor a list"),
        ("other.csv", b"label,time_start,time_end\nrun,1,2\n", "no column that names the video"),
        ("half.csv", b"video_id,time_start\na,1\n", "only one of the columns"),
        ("twice.csv", b"video_id,label,label\na,x,y\n", "more than one column label"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        read_annotations(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_a_foreign_scheme_are_told_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"none\.csv cannot be read: No such file"):
        read_annotations(tmp_path / "none.csv")
    with pytest.raises(UserError, match="is a folder"):
        read_annotations(tmp_path)
    with pytest.raises(UserError, match=r"only paths and http\(s\) URLs"):
        read_annotations("ftp://host/train.csv")
    with pytest.raises(UserError, match=r"labels file .*none\.txt cannot be read"):
        read_labels(tmp_path / "none.txt")


def test_what_is_unpacked_is_bounded(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(annotation_files, "MAX_BYTES", 1 << 20)
    bomb = b"a" * (4 << 20)
    for name, data in (
        ("b.csv", bomb),
        ("b.csv.gz", gzip.compress(bomb)),
        ("b.zip", zipped({"b.csv": bomb})),
        ("c.zip", zipped({f"{i}.csv": bomb[: 1 << 19] for i in range(3)})),
        ("b.tar.gz", tarred({"b.csv": bomb})),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="more than 1 MiB"):
            read_annotations(tmp_path / name)


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/gone.csv":
            self.send_error(404)
        elif path == "/slow.csv":
            self.server.release.wait(5)  # type: ignore[attr-defined]
        else:
            pages = {"/val.csv": VAL, "/k.tar.gz": tarred({"train.csv": TRAIN}), "/cut.csv": VAL}
            pages["/encoded.csv.gz"] = gzip.compress(VAL)
            self.send_response(200)
            self.send_header("Content-Length", str(len(pages[path]) + (99 if path == "/cut.csv" else 0)))
            if path == "/encoded.csv.gz":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(pages[path])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as pages:
        pages.release = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{pages.server_port}"
        pages.release.set()  # type: ignore[attr-defined]
        pages.shutdown()


def test_a_url_is_read_like_a_file(server):
    annotations = load_annotations([f"http://{server}/val.csv?token=secret", f"http://{server}/k.tar.gz"])
    assert list(annotations.table["video_id"]) == ["b", "a"]
    assert list(annotations.table["split"]) == ["val", "train"]
    assert list(annotations.hashes) == ["val.csv", "k.tar.gz"]


def test_a_gzipped_file_whose_server_calls_that_an_encoding_is_read(server):
    assert list(read_annotations(f"http://{server}/encoded.csv.gz")["video_id"]) == ["b"]


@pytest.mark.parametrize(
    ("page", "message"),
    [("gone.csv", "answered 404"), ("cut.csv", "broke off"), ("slow.csv", "no answer within")],
)
def test_a_url_that_fails_is_told_in_one_line_without_its_secrets(server, page, message, monkeypatch):
    monkeypatch.setattr(annotation_download, "READ_SECONDS", 0.3)
    with pytest.raises(UserError, match=message) as error:
        read_annotations(f"http://user:password@{server}/{page}?token=secret")
    told = str(error.value)
    assert "\n" not in told
    assert page in told
    assert not any(secret in told for secret in ("user", "password", "token", "secret"))


def test_a_server_that_is_not_there_is_told_in_one_line():
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/val\.csv: no connection"):
        read_annotations("http://127.0.0.1:9/val.csv")


@pytest.mark.parametrize("url", ["http://[::1/val.csv", "http://", "https://exa mple/x.csv"])
def test_a_malformed_url_is_told_in_one_line(url):
    with pytest.raises(UserError, match="annotations"):
        read_annotations(url)
