"""A dataset in a bucket, over the real S3 protocol, with a server that fails: whole or not, and said in a line."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moto.server")

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.repair import require_nothing_left, take_out
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, withdraw
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.storage import object_client, objects
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from tests.builders.clips import CLASSES, asked_clips, built, commit, planned
from tests.builders.faulty_s3 import Faults, faulty_s3, new_bucket, use_endpoint

LARGE = 12 << 20
"""Bytes: more than one part of an upload."""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    with faulty_s3() as found:
        yield found


@pytest.fixture
def faults(server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Faults:
    use_endpoint(monkeypatch, server[0])
    monkeypatch.setitem(object_client.RETRY, "max_retries", 3)
    monkeypatch.setattr(objects, "_ONE_REQUEST", 8 << 20)
    monkeypatch.setattr(objects, "_PART", 5 << 20)
    server[1].kind = None
    return server[1]


@pytest.fixture
def store(faults: Faults, server: tuple[str, Faults]) -> Store:
    name = new_bucket(server[0])
    return open_store(f"s3://{name}/data")


def uploads(method: str, path: str) -> bool:
    return method == "PUT"


def test_what_is_written_is_read_listed_and_removed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    store.upload(tmp_path / "large", "shards/a.parquet")
    store.write("shards/a.json", b"{}")
    assert store.list("shards") == [("shards/a.json", 2), ("shards/a.parquet", LARGE)]
    assert store.read("shards/a.parquet") == (tmp_path / "large").read_bytes()
    assert not store.create("shards/a.json", b"[]")
    store.delete("shards/a.json")
    assert not store.exists("shards/a.json")


@pytest.mark.parametrize("kind", ["500", "reset", "slow"])
def test_a_fault_that_passes_is_not_noticed(store: Store, faults: Faults, tmp_path: Path, kind: str) -> None:
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    faults.plan(kind, 1, uploads)  # type: ignore[arg-type]
    store.upload(tmp_path / "large", "a.bin")
    assert faults.failed == 1
    faults.plan(kind, 1)  # type: ignore[arg-type]
    assert store.read("a.bin") == (tmp_path / "large").read_bytes()
    assert faults.failed == 1


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_that_breaks_off_is_asked_for_again(store: Store, faults: Faults, times: int) -> None:
    store.write("a", b"12345678")
    for step, right in (
        (lambda: store.read("a"), b"12345678"),
        (store.list, [("a", 8)]),
        (store.top, ["a"]),
        (lambda: store.open_input("a").read(), b"12345678"),
    ):
        faults.plan("truncated", times, lambda method, path: method == "GET")
        assert step() == right
        assert faults.failed == times


@pytest.mark.parametrize("kind", ["500", "reset"])
def test_an_upload_that_fails_for_good_leaves_nothing_and_is_said_in_a_line(
    store: Store, faults: Faults, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    faults.plan(kind, 100, lambda method, path: method == "PUT" and "partNumber=2" in path)  # type: ignore[arg-type]
    with pytest.raises(JobFailed) as error:
        store.upload(tmp_path / "large", "a.bin")
    faults.kind = None
    assert "a.bin" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not store.exists("a.bin")
    assert store.list() == []
    assert unfinished_uploads(store) == []


def unfinished_uploads(store: Store) -> list[object]:
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    found: list[object] = client.list_multipart_uploads(Bucket=store.uri.split("/")[2]).get("Uploads", [])
    return found


def test_a_success_that_nobody_heard_of_is_a_success(store: Store, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"local")
    faults.plan("lost", 1, uploads)
    assert store.create("a", b"1")
    assert faults.failed == 1
    _, version = store.read_version("a")
    faults.plan("lost", 1, uploads)
    assert store.replace("a", b"2", version)
    assert not store.replace("a", b"3", version)
    faults.plan("lost", 1, uploads)
    assert store.create_from(tmp_path / "local", "b")
    assert not store.create("a", b"4")
    assert (store.read("a"), store.read("b")) == (b"2", b"local")


def test_of_many_who_create_or_replace_an_object_at_once_one_does(store: Store) -> None:
    with ThreadPoolExecutor(8) as many:
        assert sum(many.map(lambda n: store.create("a", b"%d" % n), range(16))) == 1
        version = store.files()[0].version
        assert sum(many.map(lambda n: store.replace("a", b"r%d" % n, version), range(16))) == 1


def test_a_store_that_ignores_conditions_is_refused_in_a_line(store: Store, faults: Faults) -> None:
    store.require_conditions()
    faults.plan("unconditional", 100, uploads)
    with pytest.raises(UserError, match="ignores If-None-Match") as refused:
        store.require_conditions()
    assert "\n" not in str(refused.value)
    assert store.list() == []


def test_commands_killed_while_they_look_at_a_store_leave_one_file_at_most(store: Store, faults: Faults) -> None:
    for _ in range(2):
        # As if it ended here; of this bucket alone, since the server may still hear of an earlier test's.
        faults.plan("expired", 1, lambda method, path: method == "GET" and store.uri.split("/")[2] in path)
        with pytest.raises(UserError):
            store.require_conditions()
    store.require_conditions()
    assert [name for name, _ in store.list()] == ["state/probe"]


def test_a_file_too_large_for_a_condition_is_settled_by_what_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_MOST_IN_ONE_REQUEST", 1000)
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(bytes(LARGE))
    other.write_bytes(b"1" * LARGE)
    assert not store.decides(LARGE)
    assert store.create_from(mine, "a")
    assert store.create_from(mine, "a")
    assert not store.create_from(other, "a")
    assert store.replace_from(other, "a", str(store.version("a")))
    assert not store.replace_from(mine, "a", '"an older one"')
    assert not store.replace_from(mine, "none", '"an older one"')
    assert store.read("a") == other.read_bytes()

    uploaded = ObjectStore._uploaded

    def overtaken(self: ObjectStore, local: Path, name: str) -> str:
        version = uploaded(self, local, name)
        uploaded(self, other, name)
        return version

    monkeypatch.setattr(ObjectStore, "_uploaded", overtaken)
    assert not store.create_from(mine, "b")


def test_a_forked_process_reads_and_writes_though_its_parent_did_before(store: Store) -> None:
    store.write("a", b"1")
    with multiprocessing.get_context("fork").Pool(2) as forked:
        assert forked.map(store.read, ["a"] * 4, chunksize=1) == [b"1"] * 4
        assert sum(forked.starmap(store.create, [("b", b"%d" % n) for n in range(4)], chunksize=1)) == 1
        with pytest.raises(FileNotFoundError):
            forked.apply(store.read, ["none"])


def test_a_bucket_that_is_not_there_is_named(faults: Faults) -> None:
    with pytest.raises(UserError, match="no such bucket"):
        open_store("s3://nobody-has-made-this/data").read("dataset.json")


def test_keys_come_from_a_profile_when_the_environment_has_none(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.write("a", b"1")
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (tmp_path / "config").write_text("[profile team]\nregion = us-east-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert open_store(store.uri).read("a") == b"1"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match="nobody"):
        open_store(store.uri).read("a")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(UserError, match="pip install boto3"):
        open_store(store.uri).read("a")


def test_credentials_are_not_pickled(store: Store) -> None:
    assert pickle.loads(pickle.dumps(store)).uri == store.uri
    assert b"SECRET" not in pickle.dumps(store).upper()
    assert len(pickle.dumps(store)) < 500


def test_credentials_that_have_expired_are_named(store: Store, faults: Faults) -> None:
    faults.plan("expired", 100)
    with pytest.raises(UserError, match=r"(?i)credentials.*expired|expired.*credentials"):
        store.write("a.json", b"{}")
    with pytest.raises(UserError, match=r"(?i)expired"):
        store.read("a.json")


@pytest.mark.parametrize("layout", ["parquet", "array"])
def test_a_dataset_in_a_bucket_is_as_one_on_a_disk(store: Store, tmp_path: Path, layout: str) -> None:
    recipe = Recipe(short_side=48, flow="none", layout=layout)  # type: ignore[arg-type]
    dataset = Dataset.create(store.uri, recipe, CLASSES, {"a.csv": "00"})
    for shard in planned(dataset, asked_clips(5)).shards():
        commit(dataset, shard.name, shard.clips)
    local = built(tmp_path / "local", count=5, recipe=recipe)
    there, here = (ClipDataset(d.store.uri, frames=8, crop=32, train=False, raw=True) for d in (dataset, local))
    for number in range(5):
        assert np.array_equal(there[number]["video"], here[number]["video"])
    assert verify(dataset).faults == []
    gone = asked_clips(5)[2].clip_id
    withdraw(dataset, [gone], "why")
    finish_withdrawals(dataset, tmp_path / "scratch", lambda: True)
    assert verify(dataset).faults == []
    assert gone not in ClipDataset(store.uri, frames=8, crop=32).index["clip_id"].to_pylist()


@pytest.mark.parametrize("name", ["shards/train-00000.parquet", "shards/train-00000.json", "plans/00000.parquet"])
def test_what_a_failing_store_does_not_give_is_never_taken_out(store: Store, faults: Faults, name: str) -> None:
    dataset = Dataset.create(store.uri, Recipe(short_side=48, flow="none"), CLASSES, {"a.csv": "00"})
    for shard in planned(dataset, asked_clips(2)).shards():
        commit(dataset, shard.name, shard.clips)
    there = store.list()
    faults.plan("500", 100, lambda method, path: method == "GET" and path.partition("?")[0].endswith(name))
    try:
        take_out(dataset, findings := verify(dataset))
        require_nothing_left(findings, store.uri)
        told = ""
    except JobFailed as error:
        told = str(error)
    faults.kind = None
    assert name in told
    assert store.list() == there
    assert verify(dataset).faults == []
