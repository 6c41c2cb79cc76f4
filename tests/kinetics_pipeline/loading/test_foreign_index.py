"""The loader's index lies beside the dataset, where a stranger may have written it: what no build can have is passed
over, and the index is made again from the markers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from kinetics_pipeline.dataset import kept_table
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading import index
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.storage.digest import with_digest
from tests.builders.clips import built


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(tmp_path_factory.mktemp("made") / "data", count=2, recipe=Recipe(short_side=48, flow="none"))


def write(dataset: Dataset, table: pa.Table, metadata: Mapping[bytes, bytes]) -> None:
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata(metadata)
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    dataset.store.write(index._CACHE, with_digest(sink.getvalue().to_pybytes()))


def test_an_index_of_these_markers_is_taken_as_it_is(dataset: Dataset) -> None:
    known = index._build(dataset).set_column(9, "frames", pa.array([7, 7], pa.int32()))
    write(dataset, known, {kept_table._KEY: kept_table._state(dataset).encode()})
    assert index.load_index(dataset)["frames"].to_pylist() == [7, 7]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("shard", "../../x"),
        ("shard", "/etc/passwd"),
        ("shard", None),
        ("clip_id", None),
        ("first_row", 10**12),
        ("first_row", -1),
        ("position", -1),
        ("frames", 0),
        ("height", -3),
    ],
)
def test_rows_that_no_build_writes_are_passed_over(dataset: Dataset, column: str, value: Any) -> None:
    right = index._build(dataset)
    place = right.column_names.index(column)
    values = [value, *right[column].to_pylist()[1:]]
    changed = right.set_column(place, right.field(place), pa.array(values, right.field(place).type))
    write(dataset, changed, {kept_table._KEY: kept_table._state(dataset).encode()})
    assert index.load_index(dataset)[column].to_pylist() == right[column].to_pylist()


def test_an_index_that_names_its_markers_in_no_letters_is_passed_over(dataset: Dataset) -> None:
    write(dataset, index._build(dataset), {kept_table._KEY: b"\xff\xfe"})
    assert len(index.load_index(dataset)) == 2
