"""A converted dataset has the values, records and withdrawals of the one it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kinetics_pipeline.dataset.convert import Choice, begin, convert
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import withdraw
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.plan import Plan, plan_schema
from tests.builders.clips import asked_clips, built

IDS = [clip.clip_id for clip in asked_clips(9)]
ALL = Choice()


@pytest.fixture
def source(tmp_path: Path) -> Dataset:
    return built(tmp_path / "source", count=9, splits=("train", "val"), outcomes={IDS[4]: "gone"}, frames={IDS[3]: 23})


def converted(source: Dataset, name: str, layout: str = "array", choice: Choice = ALL, per_shard: int = 3) -> Dataset:
    target = Path(source.store.uri).with_name(name)
    dataset = begin(source, str(target), layout, choice, per_shard)  # type: ignore[arg-type]
    convert(source, dataset, target.with_suffix(".scratch"), lambda: True)
    return dataset


def samples(dataset: Dataset) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    clips = ClipDataset(dataset.store.uri, stream="both", frames=None, crop=None, train=False, raw=True)
    found = (clips[number] for number in range(len(clips)))
    return {clip["clip_id"]: (clip["video"].numpy(), clip["flow"].numpy(), clip["label"]) for clip in found}


def test_arrays_hold_the_values_that_the_jpegs_stand_for(source: Dataset) -> None:
    dataset = converted(source, "arrays")
    assert dataset.recipe == replace(source.recipe, layout="array")
    before, after = samples(source), samples(dataset)
    assert before.keys() == after.keys() == {*IDS} - {IDS[4]}
    for clip, (video, flow, label) in before.items():
        assert np.array_equal(video, after[clip][0])
        assert np.array_equal(flow, after[clip][1])
        assert label == after[clip][2]
    assert verify(dataset).faults == []


def test_what_could_not_be_had_is_written_down_again(source: Dataset) -> None:
    dataset = converted(source, "arrays")
    assert dataset.outcomes() == source.outcomes()
    mine, theirs = fingerprint(dataset), fingerprint(source)
    assert (mine.annotations, mine.survivors) == (theirs.annotations, theirs.survivors)


def test_the_same_layout_is_a_copy_of_the_same_content(source: Dataset) -> None:
    assert fingerprint(converted(source, "copy", layout="parquet")) == fingerprint(source)


def test_chosen_classes_keep_their_numbers(source: Dataset) -> None:
    dataset = converted(source, "up", choice=Choice(classes=["up"]))
    assert dataset.classes == source.classes
    assert {label for _, _, label in samples(dataset).values()} == {2}
    assert sorted(samples(dataset)) == [IDS[2], IDS[5], IDS[8]]


def test_a_list_of_the_annotations_is_chosen_as_a_split_is(source: Dataset) -> None:
    on = {IDS[0]: "train1 test2", IDS[1]: "test1", IDS[4]: "test2"}
    rows = [
        {"clip_id": clip, "video_id": clip[:11], "split": "train", "shard": "train-00009", "lists": names}
        for clip, names in on.items()
    ]
    schema = plan_schema({"lists"})
    source.add_plan(Plan(pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema=schema)))
    dataset = converted(source, "listed", choice=Choice(splits=["test2"]))
    assert dataset.outcomes() == {IDS[0]: "ok", IDS[4]: "gone"}


def test_one_that_was_interrupted_goes_on_to_the_same_bytes(source: Dataset) -> None:
    whole, broken = converted(source, "whole"), converted(source, "broken")
    for store in (broken.store,):
        store.delete("shards/train-00001.json")
        store.delete("shards/val-00000.json")
        store.delete("shards/val-00000.arrow")
    converted(source, "broken")
    data = [name for name, _ in whole.store.list("shards") if name.endswith(".arrow")]
    assert all(whole.store.read(name) == broken.store.read(name) for name in data)
    assert verify(broken).faults == []


def test_withdrawals_go_along(source: Dataset) -> None:
    withdraw(source, [IDS[0]], "why")
    dataset = converted(source, "arrays")
    assert dataset.withdrawn() == {IDS[0]: "why"}
    assert dataset.outcomes()[IDS[0]] == "withdrawn"
    assert IDS[0] not in samples(dataset)


@pytest.mark.parametrize("choice", [Choice(classes=["down"]), Choice(splits=["test"]), Choice(clips=["none"])])
def test_a_choice_of_nothing_is_refused(source: Dataset, choice: Choice) -> None:
    with pytest.raises(UserError):
        begin(source, f"{source.store.uri}-new", "array", choice, 64)


def test_another_choice_into_the_same_place_is_refused(source: Dataset) -> None:
    converted(source, "new", choice=Choice(classes=["up"]))
    with pytest.raises(UserError, match="another choice"):
        converted(source, "new", choice=Choice(classes=["left"]))
