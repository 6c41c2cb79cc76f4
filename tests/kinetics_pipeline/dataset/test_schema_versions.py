"""Datasets of every schema version, committed with the tests, stay readable, and say what they said then."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.dataset.convert import Choice, begin, convert
from kinetics_pipeline.dataset.dataset import Counts, Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, withdraw
from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.clip_rows import Origin
from kinetics_pipeline.shards.data_file import data_name, read_clips, write_data_file
from kinetics_pipeline.shards.markers import sealed
from kinetics_pipeline.storage.digest import sha256_of
from tests.builders.clips import built, drawn_flow, drawn_frames
from tests.data.make_schema_1 import FRAMES, GONE, HEIGHT, WIDTH

LAYOUTS: tuple[Layout, ...] = ("parquet", "array", "video")
COMMITTED = ("schema_1_parquet", "schema_1_array", "schema_2_parquet", "schema_2_array", "schema_3_video")
LEFT = "v000_000000_000010"


@pytest.fixture(params=COMMITTED)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy: opening a dataset keeps an index beside it."""
    return Path(shutil.copytree(Path(__file__).parents[2] / "data" / request.param, tmp_path / "data"))


@pytest.fixture
def layout(folder: Path) -> Layout:
    return Dataset.open(folder).recipe.layout


def test_its_plans_records_and_counts_are_read(folder: Path) -> None:
    dataset = Dataset.open(folder)
    size = sum(path.stat().st_size for path in folder.glob("shards/*.*") if path.suffix != ".json")
    assert dataset.counts() == Counts(4, 3, 0, {"gone": 1}, 2, size, {("gone", ""): 1})
    assert dataset.outcomes()[GONE] == "gone"
    assert {name: record.frames for name, record in dataset.records().items() if record.outcome == "ok"} == FRAMES
    assert dataset.unfinished() is None
    assert dataset.next_shard_numbers() == {"train": 1, "val": 1}


def test_its_fingerprint_is_what_it_was(folder: Path, layout: Layout) -> None:
    assert fingerprint(Dataset.open(folder)).to_json() == EXPECTED[layout]


def test_its_frames_and_flow_are_those_it_was_made_from(folder: Path, layout: Layout) -> None:
    dataset = ClipDataset(folder, stream="both", frames=None, crop=None, train=False, raw=True)
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset[index]
        number, count = int(sample["clip_id"][1:4]), FRAMES[sample["clip_id"]]
        frames = drawn_frames(number, count, HEIGHT, WIDTH).transpose(3, 0, 1, 2).astype(int)
        flow = quantise_flow(drawn_flow(number, count, HEIGHT, WIDTH)).transpose(1, 0, 2, 3).astype(int)
        rgb_error, flow_error = np.abs(sample["video"].numpy() - frames), np.abs(sample["flow"].numpy() - flow)
        assert rgb_error.mean() < (0.01 if layout == "array" else 4)
        assert flow_error.mean() < (0.01 if layout == "array" else 2)


def test_the_index_says_where_each_clip_comes_from(folder: Path) -> None:
    rows = load_index(Dataset.open(folder)).select(["video_id", "time_start", "time_end", "split"]).to_pylist()
    assert sorted(tuple(row.values()) for row in rows) == [
        ("v000", 0.0, 10.0, "train"),
        ("v002", 2.0, 12.0, "train"),
        ("v003", 3.0, 13.0, "val"),
    ]


def test_it_is_verified_and_converted_and_a_clip_of_it_withdrawn(folder: Path, tmp_path: Path) -> None:
    source = Dataset.open(folder)
    assert verify(source).faults == []
    before = fingerprint(source)
    converted = begin(source, str(tmp_path / "other"), source.recipe.layout, Choice(), 64)
    convert(source, converted, tmp_path / "scratch", lambda: True)
    assert fingerprint(converted) == before
    withdraw(source, [GONE, LEFT], "asked")
    assert finish_withdrawals(source, tmp_path / "scratch", lambda: True) == 1
    for dataset, left in ((source, [LAST]), (converted, [LEFT, LAST])):
        assert verify(dataset).faults == []
        assert sorted(rows_of_train(dataset)) == sorted((clip, clip[:4], "train") for clip in left)


LAST = "v002_000002_000012"


def rows_of_train(dataset: Dataset) -> set[tuple[str, str, str]]:
    """What the rows of the one train shard, written again, say of themselves."""
    path = Path(dataset.store.uri) / data_name("train-00000", dataset.recipe.layout)
    with pa.ipc.open_file(path) if path.suffix == ".arrow" else nullcontext() as arrow:
        table = arrow.read_all() if arrow else pq.read_table(path)
    return {tuple(row.values()) for row in table.select(["clip_id", "video_id", "split"]).to_pylist()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", [{"video_id": "another"}, {"time_start": 1.0}, {"split": "val"}], ids=str)
def test_a_row_that_says_another_origin_than_its_marker_is_named(
    tmp_path: Path, layout: Layout, field: dict[str, object]
) -> None:
    dataset = built(tmp_path / "data", 1, recipe=Recipe(short_side=48, layout=layout))
    marker = json.loads(dataset.store.read("shards/train-00000.json"))
    [entry] = marker["clips"]
    path = tmp_path / "data" / data_name("train-00000", layout)
    [rows] = read_clips(path, layout, [entry["rows"]])
    origin = replace(Origin.of(entry, "train"), **field)
    write_data_file(tmp_path / "new", [(rows, origin)], dataset.recipe, dataset.classes)
    (tmp_path / "new").replace(path)
    marker |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    dataset.store.write("shards/train-00000.json", sealed(marker))
    [fault] = verify(dataset).faults
    assert fault.clip_id == entry["clip_id"]
    assert str(next(iter(field.values()))) in fault.problem


EXPECTED: dict[Layout, dict[str, str]] = {
    "parquet": {
        "annotations": "bf6341992eec3e91d2c762e6f3f72922c21a2eb3b2ea3f8da00b0b48d0312a20",
        "recipe": "90ca7397d77b58d1d3504d286616effd6816df3928800eb63f03ac73bbea943e",
        "survivors": "95c2ae38f582b8deb209ce2a7fdd897fbc8bbdc55720cf23a03f5dfb9acd4058",
        "content": "62ac353bab82f2b694f7b21f12214e9808336927296f961fc25aeccaded291ae",
    },
    "array": {
        "annotations": "bf6341992eec3e91d2c762e6f3f72922c21a2eb3b2ea3f8da00b0b48d0312a20",
        "recipe": "c3f7a2f57c51d3001acae72d64a7ee388ece1e3db9d73b0fd808e8ff59934a1e",
        "survivors": "95c2ae38f582b8deb209ce2a7fdd897fbc8bbdc55720cf23a03f5dfb9acd4058",
        "content": "9a6b80896a0b3f9a4fabb3468ed9a77449b720715d9d674049571f1ea9d2327c",
    },
    "video": {
        "annotations": "bf6341992eec3e91d2c762e6f3f72922c21a2eb3b2ea3f8da00b0b48d0312a20",
        "recipe": "5f1b5ceb1d1e7f597cfd811c574660167736d34bceb40661fd0fda6316e47233",
        "survivors": "95c2ae38f582b8deb209ce2a7fdd897fbc8bbdc55720cf23a03f5dfb9acd4058",
        "content": "38a4ac3f77708a866984358e6e2ac5a13a0592b34f43d056d888f58caba5e8c9",
    },
}
