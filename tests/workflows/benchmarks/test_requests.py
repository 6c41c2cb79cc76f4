"""Requests to an object store grow with the pages of a listing, not with shards."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("moto.server")

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.marker_index import INDEX
from kinetics_pipeline.shards.markers import sealed
from kinetics_pipeline.workflows.benchmarks import requests, scale

SHARDS = 600
PAGES_OF_10_000 = 21
"""Requests that list 10,000 shards at a thousand names each; 632 markers and as many data files here take two."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "CLIPS_PER_SHARD", 6)
        scale.make(folder, SHARDS)
    return folder


def test_status_and_a_cold_dataset_of_10_000_shards_take_fewer_than_100_requests(folder: Path, tmp_path: Path) -> None:
    with requests.counted_s3() as server:
        seen = requests.measure(server, folder, tmp_path, build=False)
    for step in ("status", "ClipDataset, cold", "ClipDataset, warm"):
        others, listings = seen[step].total() - seen[step]["LIST"], seen[step]["LIST"]
        assert others + listings * PAGES_OF_10_000 / 2 < 100, (step, seen[step])
    assert seen["status without the index"]["GET"] > SHARDS


def test_the_index_is_never_the_truth(folder: Path, tmp_path: Path) -> None:
    with requests.counted_s3() as server:
        server.fill(folder, "data")
        dataset = Dataset.open(f"s3://{requests.BUCKET}/data")
        dataset.refresh_index()
        names = dataset.marker_names()
        document = json.loads(dataset.store.read(names[0]))
        changed = sealed({**document, "clips": [{**clip, "source": "mirror1"} for clip in document["clips"]]})
        before = dataset.counts()
        dataset.store.write(names[0], changed)
        dataset.store.delete(names[1])
        found: list[str] = []
        seen = requests.count(server, lambda: found.extend(marker.shard for marker in dataset.markers()))
    assert before.shards == len(names)
    assert found == [name[7:-5] for name in [names[0], *names[2:]]]
    assert seen == Counter(LIST=2, GET=2)


@pytest.mark.parametrize("damage", [b"", b"none", None])
def test_an_index_that_is_damaged_is_as_none(folder: Path, damage: bytes | None) -> None:
    with requests.counted_s3() as server:
        server.fill(folder, "data")
        dataset = Dataset.open(f"s3://{requests.BUCKET}/data")
        dataset.refresh_index()
        whole = dataset.store.read(INDEX)
        dataset.store.write(INDEX, damage if damage is not None else whole[:-100] + b"x" + whole[-99:])
        assert sum(1 for _ in dataset.markers()) == len(dataset.marker_names())
