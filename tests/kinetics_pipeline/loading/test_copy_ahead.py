"""Shards of a bucket copied ahead of use, over the real S3 protocol: each once, few enough, whoever is killed."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("moto.server")

from torch.utils.data import DataLoader

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, withdraw
from kinetics_pipeline.loading import ClipDataset, ClipSampler, DamagedShard, collate
from kinetics_pipeline.recipe import Layout, Recipe
from tests.builders.clips import CLASSES, asked_clips, commit, planned
from tests.builders.faulty_s3 import Faults, faulty_s3, new_bucket, use_endpoint

SHARDS = 6


class Seen:
    """The requests for data files that the server got."""

    def __init__(self, faults: Faults) -> None:
        self._faults, self._lock = faults, threading.Lock()
        self._fetched: list[str] = []
        self.forget()

    def forget(self) -> None:
        self._fetched.clear()
        self._faults.plan("slow", 1, self._notice)

    def _notice(self, method: str, path: str) -> bool:
        if method == "GET" and re.search(r"train-\d{5}\.(parquet|arrow)$", path):
            with self._lock:
                self._fetched.append(path.rpartition("/")[2])
        return False

    def fetched(self) -> Counter[str]:
        with self._lock:
            return Counter(self._fetched)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    with faulty_s3() as (endpoint, faults), pytest.MonkeyPatch.context() as patch:
        use_endpoint(patch, endpoint)
        yield endpoint, faults


def in_a_bucket(endpoint: str, layout: Layout) -> Dataset:
    bucket = new_bucket(endpoint)
    recipe = Recipe(short_side=48, flow="none", layout=layout)
    dataset = Dataset.create(f"s3://{bucket}/data", recipe, CLASSES, {})
    for shard in planned(dataset, asked_clips(2 * SHARDS), clips_per_shard=2).shards():
        commit(dataset, shard.name, shard.clips)
    return dataset


@pytest.fixture(scope="module")
def remote(server: tuple[str, Faults]) -> Dataset:
    return in_a_bucket(server[0], "parquet")


@pytest.fixture
def seen(server: tuple[str, Faults]) -> Seen:
    return Seen(server[1])


def largest(dataset: Dataset) -> int:
    return max(size for name, size in dataset.store.list("shards") if not name.endswith(".json"))


def clips_of(dataset: Dataset, cache: Path, **more: Any) -> ClipDataset:
    return ClipDataset(dataset.store.uri, frames=8, crop=32, raw=True, cache=cache, **more)


def values(sample: dict[str, Any]) -> tuple[str, int, int]:
    return sample["clip_id"], int(sample["label"]), hash(sample["video"].numpy().tobytes())


def epoch(clips: ClipDataset, number: int = 0, **more: Any) -> list[tuple[str, int, int]]:
    sampler = ClipSampler(clips, **more)
    sampler.set_epoch(number)
    return [values(clips[index]) for index in sampler]


def copies(cache: Path) -> list[Path]:
    return [file for file in (cache / "shards").glob("*") if file.name != ".lock"]


@pytest.mark.parametrize("layout", ["parquet", "array"])
def test_samples_are_the_same_and_each_shard_is_fetched_once(
    server: tuple[str, Faults], seen: Seen, tmp_path: Path, layout: Layout
) -> None:
    dataset = in_a_bucket(server[0], layout)
    in_place = clips_of(dataset, tmp_path, copy_ahead=0)
    expected = [epoch(in_place, number, window=2) for number in range(2)]
    assert not copies(tmp_path)
    seen.forget()
    clips = clips_of(dataset, tmp_path)
    assert [epoch(clips, number, window=2) for number in range(2)] == expected
    assert sorted(seen.fetched().values()) == [1] * SHARDS
    assert {file.stat().st_size for file in copies(tmp_path)} <= {size for _, size in dataset.store.list("shards")}


def test_the_next_windows_shards_come_before_they_are_read(remote: Dataset, seen: Seen, tmp_path: Path) -> None:
    clips = clips_of(remote, tmp_path)
    order = iter(ClipSampler(clips, window=2))
    clips[next(order)]
    deadline = time.monotonic() + 20
    while len(seen.fetched()) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(seen.fetched()) == 4, "two windows of two shards"
    time.sleep(0.5)
    assert len(seen.fetched()) == 4, "and none beyond"


def test_copies_stay_within_their_bound_and_each_shard_is_still_fetched_once(
    remote: Dataset, seen: Seen, tmp_path: Path
) -> None:
    bound = 3 * largest(remote)
    clips = clips_of(remote, tmp_path, copy_ahead=bound)
    expected = epoch(clips_of(remote, tmp_path, copy_ahead=0), window=1)
    seen.forget()
    found = []
    for index in ClipSampler(clips, window=1):
        found.append(values(clips[index]))
        time.sleep(0.05)  # for the next ones to come
        assert sum(file.stat().st_size for file in copies(tmp_path)) <= bound
    assert found == expected
    assert sorted(seen.fetched().values()) == [1] * SHARDS


def test_what_has_no_room_is_read_where_it_is(remote: Dataset, tmp_path: Path) -> None:
    clips = clips_of(remote, tmp_path, copy_ahead=1000)
    assert epoch(clips, window=2) == epoch(clips_of(remote, tmp_path, copy_ahead=0), window=2)
    assert not copies(tmp_path)


def test_two_workers_share_the_copies(remote: Dataset, seen: Seen, tmp_path: Path) -> None:
    expected = sorted(epoch(clips_of(remote, tmp_path, copy_ahead=0), window=2))
    seen.forget()
    # Room for all: what one worker is done with would else go before the other, far behind, has come to it.
    clips = clips_of(remote, tmp_path, copy_ahead=SHARDS * largest(remote))
    loader = DataLoader(
        clips,
        batch_size=1,
        sampler=ClipSampler(clips, window=2),
        num_workers=2,
        collate_fn=collate,
        multiprocessing_context="spawn",
    )
    found = [(batch["clip_id"][0], int(batch["label"]), hash(batch["video"][0].numpy().tobytes())) for batch in loader]
    assert sorted(found) == expected
    assert sorted(seen.fetched().values()) == [1] * SHARDS


def read_one(uri: str, cache: Path) -> None:
    clips = ClipDataset(uri, frames=8, crop=32, raw=True, cache=cache)
    clips[next(iter(ClipSampler(clips)))]


def test_what_a_killed_process_was_fetching_is_fetched_again(
    remote: Dataset, server: tuple[str, Faults], tmp_path: Path
) -> None:
    clips = clips_of(remote, tmp_path)
    expected = epoch(clips_of(remote, tmp_path, copy_ahead=0))
    server[1].plan("slow", 100, lambda method, path: method == "GET" and path.endswith(".parquet"))
    process = multiprocessing.get_context("spawn").Process(target=read_one, args=(remote.store.uri, tmp_path))
    process.start()
    deadline = time.monotonic() + 60
    while not copies(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert any(file.suffix == ".part" for file in copies(tmp_path)), "it was not killed in a copy"
    server[1].kind = None
    assert epoch(clips) == expected
    assert len(copies(tmp_path)) == SHARDS
    assert not any(file.suffix == ".part" for file in copies(tmp_path))


def test_room_is_made_of_what_a_killed_process_left(remote: Dataset, seen: Seen, tmp_path: Path) -> None:
    bound = 2 * largest(remote)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0123.part").write_bytes(bytes(bound))
    epoch(clips_of(remote, tmp_path, copy_ahead=bound), window=1)
    assert not (tmp_path / "shards" / "0123.part").exists()
    assert sorted(seen.fetched().values()) == [1] * SHARDS


def test_a_shard_that_was_replaced_is_not_read_from_its_old_copy(server: tuple[str, Faults], tmp_path: Path) -> None:
    dataset = in_a_bucket(server[0], "parquet")
    epoch(clips_of(dataset, tmp_path))
    gone = asked_clips(2 * SHARDS)[3].clip_id
    withdraw(dataset, [gone], "why")
    finish_withdrawals(dataset, tmp_path / "scratch", lambda: True)
    clips = clips_of(dataset, tmp_path)
    found = epoch(clips)
    assert gone not in [name for name, *_ in found]
    assert found == epoch(clips_of(dataset, tmp_path, copy_ahead=0))


def test_a_damaged_copy_is_named_and_fetched_again_by_the_next(remote: Dataset, tmp_path: Path) -> None:
    clips = clips_of(remote, tmp_path)
    expected = epoch(clips)
    for file in copies(tmp_path):
        data = bytearray(file.read_bytes())
        data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
        file.write_bytes(data)
    named = 0
    while named < 2 * SHARDS and (error := damage(clips_of(remote, tmp_path), expected)) is not None:
        named += 1
        assert re.search(r"s3://.*train-\d{5}\.parquet, clip v\d", str(error))
    assert 0 < named <= SHARDS, "each damaged copy is named once, and gone then"


def damage(clips: ClipDataset, expected: list[tuple[str, int, int]]) -> DamagedShard | None:
    try:
        found = epoch(clips)
    except DamagedShard as error:
        return error
    assert found == expected
    return None


def test_ranks_announce_their_own_shards(remote: Dataset, tmp_path: Path) -> None:
    clips = clips_of(remote, tmp_path)
    for rank in range(2):
        taken = list(ClipSampler(clips, rank=rank, world_size=2, window=2))
        names = [clips.index["shard"][int(index)].as_py() for index in taken]
        for place, index in enumerate(taken):
            assert names[place] in index.shards  # type: ignore[attr-defined]
            assert set(index.shards) <= set(names)  # type: ignore[attr-defined]
            assert len(index.shards) <= 4  # type: ignore[attr-defined]


def test_a_local_dataset_is_read_where_it_is(tmp_path: Path, remote: Dataset) -> None:
    from tests.builders.clips import built

    clips = ClipDataset(built(tmp_path / "data", 4).store.uri, frames=8, crop=32, cache=tmp_path / "cache")
    epoch(ClipDataset(clips.uri, frames=8, crop=32, raw=True, cache=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    assert torch.is_tensor(clips[0]["video"])
