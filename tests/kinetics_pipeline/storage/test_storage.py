"""Files of a dataset appear whole or not at all, and what storage refuses is said in a line."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import fs

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store


@pytest.fixture(params=["local", "object"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(tmp_path / "data")
    (tmp_path / "bucket").mkdir()
    return ObjectStore("mem://bucket", fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket")


def test_what_is_written_is_read_and_listed(store: Store) -> None:
    if isinstance(store, ObjectStore):
        store._fs.create_dir("bucket/shards")  # an object store has no folders to make
    store.write("shards/b.json", b"22")
    store.write("shards/a.json", b"1")
    assert store.read("shards/a.json") == b"1"
    assert store.list("shards") == store.list() == [("shards/a.json", 1), ("shards/b.json", 2)]
    assert store.top() == ["shards"]


def test_an_upload_is_the_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(os.urandom(1 << 20))
    store.upload(tmp_path / "local", "a.bin")
    assert store.read("a.bin") == (tmp_path / "local").read_bytes()


def test_a_missing_file_is_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("none.json")
    assert not store.exists("none.json")
    store.delete("none.json")


def test_a_folder_that_is_not_there_lists_nothing(store: Store) -> None:
    assert store.list("shards") == []


def test_an_exclusive_name_is_given_once(store: Store) -> None:
    assert store.create_exclusive("lease", b"1")
    assert not store.create_exclusive("lease", b"2")
    assert store.read("lease") == b"1"


def test_of_many_who_ask_for_a_name_at_once_one_gets_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    with ThreadPoolExecutor(16) as many:
        got = list(many.map(lambda n: store.create_exclusive("state/lease", b"%d" % n), range(64)))
    assert sum(got) == 1
    assert int(store.read("state/lease")) == got.index(True)


@pytest.mark.parametrize("name", ["../a", "/etc/a", "shards/../../a"])
def test_a_name_never_leads_out_of_the_dataset(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="out of the dataset"):
        store.write(name, b"")


def test_an_upload_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    store.write("a.bin", b"old")
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "missing", "a.bin")
    assert store.read("a.bin") == b"old"
    assert os.listdir(tmp_path / "data") == ["a.bin"]


def test_what_a_killed_writer_left_is_not_listed_and_is_swept(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    store.write("shards/a.json", b"1")
    (tmp_path / "data/shards/.b.json.0123.tmp").write_bytes(b"half")
    assert store.list() == [("shards/a.json", 1)]
    assert store.sweep() == 1
    assert os.listdir(tmp_path / "data/shards") == ["a.json"]


@pytest.mark.parametrize("uri", ["", "foo://bucket/x", "file://relative", "s3://"])
def test_a_place_that_is_none_is_refused_in_a_line(uri: str) -> None:
    with pytest.raises(UserError, match=r"allowed|file URI") as refused:
        open_store(uri)
    assert "\n" not in str(refused.value)


def test_a_place_under_a_file_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file is a file; allowed in its place: a folder") as refused:
        open_store(tmp_path / "file" / "data").write("dataset.json", b"{}")
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: open_file(Path("/dev/full"), "wb"))
    with pytest.raises(JobFailed, match=r"cannot write .*: No space left on device") as failed:
        open_store(tmp_path / "data").write("a.json", b"1")
    assert "\n" not in str(failed.value)


def test_a_file_uri_is_the_path(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/data").write("a", b"1")
    assert open_store(tmp_path / "data").read("a") == b"1"


def test_a_store_is_pickled_to_the_workers(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"
