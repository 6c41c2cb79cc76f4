"""Files of a dataset appear whole or not at all, and what storage refuses is said in a line."""

from __future__ import annotations

import fcntl
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.storage import local, object_client
from kinetics_pipeline.storage import store as store_module
from kinetics_pipeline.storage.cache import make_private
from kinetics_pipeline.storage.local import LocalStore, new_file
from kinetics_pipeline.storage.object_client import in_memory
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store


@pytest.fixture(params=["local", "object"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(tmp_path / "data")
    return ObjectStore("s3://bucket", in_memory("s3://bucket"))


def test_what_is_written_is_read_and_listed(store: Store) -> None:
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
    assert store.create("lease", b"1")
    assert not store.create("lease", b"2")
    assert store.read("lease") == b"1"


def test_of_many_who_ask_for_a_name_at_once_one_gets_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    with ThreadPoolExecutor(16) as many:
        got = list(many.map(lambda n: store.create("state/lease", b"%d" % n), range(64)))
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


def test_a_writer_whose_unfinished_file_was_swept_is_told_that_another_took_over(tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "a") as out:
            out.write(b"1")
            assert LocalStore(str(tmp_path)).sweep() == 1

    with pytest.raises(WorkRemains, match="taken over"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_stopped_process_keeps_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    store.write("a", b"1")
    monkeypatch.setattr(local, "LOCKED_AT_MOST", 0.1)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(WorkRemains, match="locked by another process"):
        store.replace("a", b"2", str(store.version("a")))
    os.close(folder)
    assert store.replace("a", b"2", str(store.version("a")))


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
    with pytest.raises(WorkRemains, match=r"cannot write .*: No space left on device") as failed:
        open_store(tmp_path / "data").write("a.json", b"1")
    assert "\n" not in str(failed.value)


def test_a_file_uri_is_the_path(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/data").write("a", b"1")
    assert open_store(tmp_path / "data").read("a") == b"1"


def test_a_store_is_pickled_to_the_workers(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"


def test_a_file_is_replaced_only_while_it_is_the_one_that_was_read(store: Store, tmp_path: Path) -> None:
    store.write("a", b"1")
    data, version = store.read_version("a")
    assert (data, version) == (b"1", store.files()[0].version)
    assert store.replace("a", b"2", version)
    assert not store.replace("a", b"3", version)
    (tmp_path / "local").write_bytes(b"4")
    assert not store.replace_from(tmp_path / "local", "a", version)
    assert store.replace_from(tmp_path / "local", "a", store.files()[0].version)
    assert store.read("a") == b"4"
    store.delete("a")
    assert not store.replace("a", b"5", version)
    assert not store.exists("a")


def test_a_local_file_is_created_once_and_the_same_bytes_are_a_success(store: Store, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"1")
    assert store.create_from(tmp_path / "local", "a")
    assert store.create_from(tmp_path / "local", "a")
    (tmp_path / "local").write_bytes(b"2")
    assert not store.create_from(tmp_path / "local", "a")
    assert store.read("a") == b"1"


def test_many_files_are_removed_together_also_those_that_are_gone(store: Store) -> None:
    for name in ("state/lease/1", "state/lease/2", "state/other"):
        store.write(name, b"")
    store.delete("state/lease/2")
    store.delete_many(["state/lease/1", "state/lease/2"])
    assert store.list() == [("state/other", 0)]


def test_of_many_who_replace_a_file_at_once_one_does(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    store.write("a", b"")
    version = store.files()[0].version
    with ThreadPoolExecutor(8) as many:
        assert sum(many.map(lambda n: store.replace("a", b"%d" % (n + 1), version), range(32))) == 1


@pytest.mark.parametrize("link", ["shards", "shards/a.json"])
def test_a_link_in_a_dataset_is_neither_read_nor_written_through(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.json").write_bytes(b"theirs")
    (tmp_path / "data" / link).parent.mkdir(parents=True)
    (tmp_path / "data" / link).symlink_to(outside if link == "shards" else outside / "a.json")
    store = open_store(tmp_path / "data")
    for use in (
        lambda: store.read("shards/a.json"),
        lambda: store.write("shards/a.json", b""),
        lambda: store.delete("shards/a.json"),
        lambda: store.open_input("shards/a.json"),
    ):
        with pytest.raises(UserError, match="is a link"):
            use()
    assert store.list() == []
    assert store.sweep() == 0
    assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("a.json", b"theirs")]


def test_what_would_keep_a_reader_waiting_is_refused_and_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    store = open_store(tmp_path)
    for use in (store.read, store.read_version, store.open_input, store.exists, lambda name: store.create(name, b"1")):
        with pytest.raises(UserError, match="is a pipe"):
            use("pipe")
    assert store.list() == []


def test_a_file_that_would_take_all_memory_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("large", bytes(1001))
    for module in (store_module, object_client):
        monkeypatch.setattr(module, "LARGEST_READ", 1000)
    with pytest.raises(JobFailed, match="large is damaged: it has 1001 bytes"):
        store.read("large")


def test_folders_of_the_cache_are_for_their_user_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "cache" / "spool")
    make_private(tmp_path / "cache" / "spool")
    assert {oct((tmp_path / name).stat().st_mode & 0o777) for name in ("cache", "cache/spool")} == {"0o700"}


def test_a_file_in_the_way_of_a_cache_folder_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(NotADirectoryError):
        make_private(tmp_path / "cache" / "spool")
    with pytest.raises(NotADirectoryError):
        make_private(tmp_path / "cache")
