"""Rows that are read in place are those that Arrow reads; whatever is not as the writer leaves it is left to Arrow."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.loading.plain_rows import PlainRows
from tests.builders.clips import built

STREAMS = ("rgb", "flow")
IDENTITY = ("clip_id", "chunk", "label", "height", "width")


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "data"
    built(folder, 2)
    [path] = folder.glob("shards/*.parquet")
    return path


def opened(path: Path) -> tuple[PlainRows, list[dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        return PlainRows(path, file.metadata, file.schema_arrow), file.read().to_pylist()


def images(plain: PlainRows, number: int, row: dict[str, Any]) -> dict[str, list[bytes]] | None:
    found = plain.strings(number, tuple(row[name] for name in IDENTITY), dict.fromkeys(STREAMS, row["n"]))
    return None if found is None else {stream: [bytes(image) for image in found[stream]] for stream in STREAMS}


def test_every_row_of_a_shard_is_read_as_arrow_reads_it(shard: Path) -> None:
    plain, rows = opened(shard)
    assert len(rows) > 4
    for number, row in enumerate(rows):
        assert images(plain, number, row) == {stream: row[stream] for stream in STREAMS}


@pytest.mark.parametrize("changed", [{"clip_id": "another"}, {"chunk": 1}, {"label": 5}, {"n": 15}, {"height": 47}])
def test_a_row_that_is_another_than_asked_is_not_read(shard: Path, changed: dict[str, Any]) -> None:
    plain, rows = opened(shard)
    assert images(plain, 0, rows[0] | changed) is None
    assert images(plain, len(rows), rows[0]) is None


def test_no_changed_byte_gives_other_images(shard: Path, tmp_path: Path) -> None:
    whole, chance = shard.read_bytes(), random.Random(1)
    path = tmp_path / shard.name
    _, rows = opened(shard)
    seen = 0
    for _ in range(200):
        data = bytearray(whole)
        place = chance.randrange(4, len(data) - len(data) // 50)  # Arrow judges the footer, which is all it reads here
        data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with pq.ParquetFile(path, metadata=pq.read_metadata(shard)) as file:
            plain = PlainRows(path, file.metadata, file.schema_arrow)
        found = [images(plain, number, row) for number, row in enumerate(rows)]
        assert all(one in (None, {s: row[s] for s in STREAMS}) for one, row in zip(found, rows, strict=True))
        seen += None in found
    assert seen > 150


@pytest.mark.parametrize(
    "settings", [{"compression": "zstd"}, {"use_dictionary": True}, {"data_page_version": "2.0", "compression": "gzip"}]
)
def test_a_shard_that_another_program_wrote_again_gives_the_same_samples(
    shard: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    mine, other = shard.parent.parent, tmp_path / "data"
    built(other, 2)
    table = pq.read_table(shard)
    pq.write_table(table, other / "shards" / shard.name, row_group_size=1, **settings)
    one, two = (ClipDataset(folder, stream="both", frames=24, crop=32, raw=True) for folder in (mine, other))
    one.set_epoch(0)
    two.set_epoch(0)
    for number in range(len(one)):
        for name in ("video", "flow"):
            np.testing.assert_array_equal(one[number][name], two[number][name])
