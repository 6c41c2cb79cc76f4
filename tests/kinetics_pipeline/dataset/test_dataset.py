"""What a dataset says of itself comes from what is committed, and what cannot be is refused in a line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from kinetics_pipeline.dataset.dataset import Counts, Dataset
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import withdraw
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.markers import sealed
from tests.builders.clips import CLASSES, asked_clips, built, commit, planned

RECIPE = Recipe(short_side=48)


def begun(folder: Path) -> Dataset:
    return Dataset.create(folder, RECIPE, CLASSES, {"a.csv": "00"})


def test_a_dataset_opens_as_it_was_created(tmp_path: Path) -> None:
    begun(tmp_path)
    dataset = Dataset.open(tmp_path)
    assert (dataset.recipe, dataset.classes, dataset.annotations) == (RECIPE, CLASSES, {"a.csv": "00"})
    assert json.loads((tmp_path / "dataset.json").read_bytes())["schema_version"] == 2


def test_another_recipe_is_refused_with_the_field_named(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(UserError, match="fps is 12"):
        Dataset.open_or_create(tmp_path, dataclasses.replace(RECIPE, fps=12), CLASSES, {})


def test_later_annotations_may_have_fewer_classes_but_no_others(tmp_path: Path) -> None:
    begun(tmp_path)
    assert Dataset.open_or_create(tmp_path, RECIPE, ["up"], {}).classes == CLASSES
    with pytest.raises(UserError, match="label 'down' is none of this dataset's 3 classes"):
        Dataset.open_or_create(tmp_path, RECIPE, ["up", "down"], {})


def test_a_folder_that_is_no_dataset_is_neither_opened_nor_filled(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_bytes(b"")
    with pytest.raises(UserError, match=r"has no dataset\.json"):
        Dataset.open(tmp_path)
    with pytest.raises(UserError, match=r"not empty: it has thesis\.tex"):
        Dataset.open_or_create(tmp_path, RECIPE, CLASSES, {})


def test_a_folder_with_only_a_lease_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    begun(tmp_path)


@pytest.mark.parametrize(
    ("version", "said"), [(4, "newer than this program"), ("x", "is none"), (0, "is none"), (None, "is none")]
)
def test_a_schema_version_that_is_not_read_is_refused(tmp_path: Path, version: object, said: str) -> None:
    begun(tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_bytes()) | {"schema_version": version}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=said):
        Dataset.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"schema_version": 1}', '{"schema_version": 1, "recipe": 3}']
)
def test_a_damaged_dataset_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(JobFailed, match=r"dataset\.json is damaged"):
        Dataset.open(tmp_path)


@pytest.mark.parametrize(("was", "changed"), [("left", "lift"), ('"flow": "tvl1"', '"flow": "none"'), ("25", "24")])
def test_a_letter_changed_in_the_dataset_file_is_noticed_before_its_shards_are_held_to_be_bad(
    tmp_path: Path, was: str, changed: str
) -> None:
    file = Path(built(tmp_path / "a", count=2).store.uri) / "dataset.json"
    whole = file.read_text()
    assert was in whole
    file.write_text(whole.replace(was, changed))
    with pytest.raises(JobFailed, match=rf"{file} is damaged: .*changed.*; (.*) is a copy") as refusal:
        Dataset.open(tmp_path / "a")
    shutil.copy(str(refusal.value).split("; ")[1].partition(" ")[0], file)
    assert verify(Dataset.open(tmp_path / "a")).faults == []


def test_counts_of_a_half_done_plan(tmp_path: Path) -> None:
    dataset = begun(tmp_path)
    first, *_ = planned(dataset, asked_clips(10)).shards()
    commit(dataset, first.name, first.clips, outcomes={first.clips[0].clip_id: "gone"})
    size = (tmp_path / f"shards/{first.name}.parquet").stat().st_size
    ok = len(first.clips) - 1
    assert dataset.counts() == Counts(10, ok, 10 - ok - 1, {"gone": 1}, 1, size, {("gone", ""): 1})


def test_the_unfinished_plan_names_its_missing_shards(tmp_path: Path) -> None:
    dataset = begun(tmp_path)
    assert dataset.unfinished() is None
    first, *others = planned(dataset, asked_clips(10)).shards()
    commit(dataset, first.name, first.clips)
    number, plan, missing = dataset.unfinished() or pytest.fail("finished")
    assert (number, len(plan), missing) == (0, 10, [shard.name for shard in others])
    for shard in others:
        commit(dataset, shard.name, shard.clips)
    assert dataset.unfinished() is None


def test_shard_numbers_go_on_from_plan_to_plan_even_before_anything_is_committed(tmp_path: Path) -> None:
    dataset = begun(tmp_path)
    planned(dataset, asked_clips(10, ("train", "val")))
    assert dataset.next_shard_numbers() == {"train": 2, "val": 2}


def test_the_record_of_the_newest_plan_counts_whatever_its_shard_is_called(tmp_path: Path) -> None:
    dataset = begun(tmp_path)
    clip = asked_clips(1)[0]
    commit(dataset, "val-00000", [clip], plan=0, outcomes={clip.clip_id: "network"})
    commit(dataset, "train-00000", [clip], plan=1)
    assert dataset.outcomes() == {clip.clip_id: "ok"}
    assert dataset.records()[clip.clip_id].frames == 40


def test_many_clips_are_looked_at_in_columns_with_the_same_result(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("kinetics_pipeline.dataset.newest._ROWS_AT_ONCE", 3)
    dataset = begun(tmp_path)
    clips, withdrawn = asked_clips(6), asked_clips(6)[4]
    outcomes = [("ok", "network", "ok"), ("gone", "ok", "network"), ("network",) * 3, ("ok",) * 3, ("ok",) * 3]
    for shard, plan in (("a-00000", 2), ("b-00000", 0), ("c-00000", 1)):
        of_plan = {clip.clip_id: of[plan] for clip, of in zip(clips, outcomes, strict=False)}
        commit(dataset, shard, clips[: 5 + plan % 2], plan=plan, outcomes=of_plan)
    withdraw(dataset, [withdrawn.video_id], "asked for")
    by_clip = dataset.newest(lambda marker, entry: (entry["outcome"], marker.file, entry.get("rows")))
    assert [of for of, *_ in by_clip.values()] == ["ok", "network", "network", "ok", "withdrawn", "ok"]
    schema = pa.schema([("clip_id", "string"), ("outcome", "string"), ("file", "string"), ("rows", "int32")])
    rows = dataset.newest_table(schema).to_pylist()
    assert {clip: tuple(values) for clip, *values in (row.values() for row in rows)} == by_clip
    assert len(rows) == len(by_clip)
    assert dataset.newest_table(schema, "ok").to_pylist() == [row for row in rows if row["outcome"] == "ok"]


def test_data_without_a_marker_is_not_committed(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", 8)
    name = dataset.marker_names()[0]
    dataset.store.delete(name)
    assert dataset.counts().shards == 1
    assert len(dataset.outcomes()) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda marker: None, ""),
        (lambda marker: marker | {"shard": "train-00007"}, "the marker of 'train-00007'"),
        (lambda marker: marker | {"sha256": None}, "does not agree with itself"),
        (lambda marker: marker | {"clips": [{}]}, r"`clip_id` - at `\$\.clips\[0\]`"),
        (lambda marker: {k: v for k, v in marker.items() if k != "plan"}, "missing required field `plan`"),
        (lambda marker: marker | {"clips": [marker["clips"][0] | {"outcome": "fine"}]}, r"'fine' - at .*\.outcome"),
        (lambda marker: marker | {"clips": [marker["clips"][0] | {"rows": 0}]}, r">= 1 - at `\$\.clips\[0\]\.rows`"),
        (lambda marker: marker | {"clips": [marker["clips"][0] | {"rows": "3"}]}, r"got `str` - at .*\.rows"),
        (lambda marker: marker | {"clips": [marker["clips"][0] | {"frames": 0}]}, "ok and holds nothing"),
        (
            lambda marker: marker | {"clips": [{k: v for k, v in marker["clips"][0].items() if k != "height"}]},
            "holds nothing",
        ),
    ],
)
def test_a_marker_that_lies_is_named(tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    dataset = built(tmp_path / "data", 4)
    path = tmp_path / "data/shards/train-00000.json"
    lying = change(json.loads(path.read_bytes()))
    path.write_bytes(b"null" if lying is None else sealed(lying))
    with pytest.raises(JobFailed, match=r"train-00000\.json is damaged.*" + said) as failed:
        dataset.outcomes()
    assert "\n" not in str(failed.value)


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", 4)
    (tmp_path / "data/plans/00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(JobFailed, match=r"plans/00000\.parquet is damaged"):
        dataset.counts()


def test_strange_files_beside_the_shards_are_passed_over(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", 4)
    for name in ("shards/notes.json", "shards/Train-00001.json", "plans/x.parquet", "shards/.train-00009.json.1.tmp"):
        (tmp_path / "data" / name).write_text("{")
    assert dataset.counts().ok == 4


def test_a_state_that_is_no_folder_is_said_in_a_line(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", 4)
    shutil.rmtree(tmp_path / "data/state", ignore_errors=True)
    (tmp_path / "data/state").write_text("")
    with pytest.raises(UserError, match=r"data/state is a file; .* a folder") as failed:
        dataset.counts()  # withdrawals are read there: to go on without them would bring clips back
    assert "\n" not in str(failed.value)
