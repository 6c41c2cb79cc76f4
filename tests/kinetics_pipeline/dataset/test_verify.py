"""Whatever is damaged is named, whatever is named can be taken out, and a whole dataset is said to be whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.repair import require_nothing_left, take_out
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, withdraw
from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.markers import sealed
from tests.builders.clips import asked_clips, built, commit

SHARD = "train-00001"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return built(tmp_path / "data", count=8, recipe=Recipe(short_side=48, flow="none"))


def data_file(dataset: Dataset) -> Path:
    return Path(dataset.store.uri) / "shards" / f"{SHARD}.parquet"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def marker(dataset: Dataset) -> dict:
    return json.loads((Path(dataset.store.uri) / "shards" / f"{SHARD}.json").read_bytes())


def rewrite(dataset: Dataset, document: dict) -> None:
    dataset.store.write(f"shards/{SHARD}.json", sealed(document))


@pytest.mark.parametrize("layout", ["parquet", "array", "video"])
@pytest.mark.parametrize("quick", [True, False])
def test_a_whole_dataset_has_no_fault(tmp_path: Path, layout: str, quick: bool) -> None:
    recipe = Recipe(short_side=48, layout=layout)  # type: ignore[arg-type]
    dataset = built(tmp_path / "data", count=5, recipe=recipe, outcomes={asked_clips(5)[4].clip_id: "gone"})
    findings = verify(dataset, quick=quick)
    assert (findings.faults, findings.shards, findings.clips, findings.pending) == ([], 2, 4, [])


def test_a_flipped_bit_in_an_image_names_its_shard_and_clip(dataset: Dataset) -> None:
    path = data_file(dataset)
    flip(path, path.stat().st_size // 2)
    findings = verify(dataset)
    assert findings.bad_shards() == [SHARD]
    assert any("SHA-256" in fault.problem for fault in findings.faults)
    named = [fault.clip_id for fault in findings.faults if fault.clip_id is not None]
    assert len(named) == 1
    assert named[0] in [entry["clip_id"] for entry in marker(dataset)["clips"]]


def lie(change: Callable[[dict], None]) -> Callable[[Dataset], None]:
    def damage(dataset: Dataset) -> None:
        document = marker(dataset)
        change(document)
        rewrite(dataset, document)

    return damage


def made_again(dataset: Dataset, recipe: Recipe, order: int = 1) -> None:
    clips = next(shard.clips for shard in dataset.plan(0).shards() if shard.name == SHARD)
    dataset.store.delete(f"shards/{SHARD}.json")
    commit(Dataset(dataset.store, recipe, dataset.classes, {}), SHARD, clips[::order])


DAMAGES: dict[str, tuple[bool, Callable[[Dataset], None]]] = {
    "no data file": (True, lambda d: data_file(d).unlink()),
    "cut short": (True, lambda d: data_file(d).write_bytes(data_file(d).read_bytes()[:-100])),
    "another shard's data": (
        True,
        lambda d: data_file(d).write_bytes(data_file(d).with_name("train-00000.parquet").read_bytes()),
    ),
    "a clip lost from the marker": (True, lie(lambda m: m["clips"].pop())),
    "a clip called gone": (False, lie(lambda m: m["clips"][0].update(outcome="gone"))),
    "another label": (True, lie(lambda m: m["clips"][0].update(label="up"))),
    "fewer frames": (False, lie(lambda m: m["clips"][0].update(frames=39))),
    "clips in another order": (True, lambda d: made_again(d, d.recipe, order=-1)),
    "another recipe": (False, lambda d: made_again(d, replace(d.recipe, rgb_quality=70))),
    "another video": (True, lie(lambda m: m["clips"][0].update(video_id="v999"))),
    "other times": (True, lie(lambda m: m["clips"][0].update(time_end=11))),
    "another plan": (True, lie(lambda m: m.update(plan="00007"))),
    "no JSON": (True, lambda d: (data_file(d).with_suffix(".json")).write_bytes(b"{")),
    "a letter changed in the marker": (True, lambda d: flip(data_file(d).with_suffix(".json"), 700)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_taken_out_and_made_again(dataset: Dataset, name: str) -> None:
    found_quickly, damage = DAMAGES[name]
    before = data_file(dataset).read_bytes()
    damage(dataset)
    findings = verify(dataset)
    assert findings.bad_shards() == [SHARD]
    assert bool(verify(dataset, quick=True).faults) == found_quickly
    with pytest.raises(JobFailed, match="tools repair"):
        require_nothing_left(findings, dataset.store.uri)
    take_out(dataset, findings)
    unfinished = dataset.unfinished()
    assert unfinished is not None
    assert unfinished[2] == [SHARD]
    planned = next(shard for shard in unfinished[1].shards() if shard.name == SHARD)
    commit(dataset, SHARD, planned.clips)
    assert data_file(dataset).read_bytes() == before
    assert verify(dataset).faults == []


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"none"), lambda path: flip(path, 300), Path.unlink])
def test_a_damaged_plan_is_restored_with_all_that_it_said(dataset: Dataset, damage: Callable[[Path], None]) -> None:
    path = Path(dataset.store.uri) / "plans" / "00000.parquet"
    was = path.read_bytes()
    damage(path)
    findings = verify(dataset)
    assert [fault.file for fault in findings.faults] == ["plans/00000.parquet"]
    take_out(dataset, findings)
    assert verify(dataset).faults == []
    assert path.read_bytes() == was


def test_a_damaged_plan_of_an_older_dataset_is_written_again_from_its_shards(dataset: Dataset) -> None:
    was = dataset.plan(0).clip_ids()
    dataset.store.delete("state/plans/00000")
    (Path(dataset.store.uri) / "plans" / "00000.parquet").write_bytes(b"none")
    findings = verify(dataset)
    assert [fault.file for fault in findings.faults] == ["plans/00000.parquet"]
    take_out(dataset, findings)
    assert verify(dataset).faults == []
    assert dataset.plan(0).clip_ids() == was


@pytest.mark.parametrize("place", [300, -1])
def test_a_damaged_copy_of_a_plan_is_no_reason_to_touch_the_plan(dataset: Dataset, place: int) -> None:
    copy, path = (Path(dataset.store.uri) / name for name in ("state/plans/00000", "plans/00000.parquet"))
    was = copy.read_bytes(), path.read_bytes()
    flip(copy, place)
    findings = verify(dataset)
    assert [fault.file for fault in findings.faults] == ["state/plans/00000"]
    take_out(dataset, findings)
    assert (copy.read_bytes(), path.read_bytes()) == was


def test_the_plans_of_a_dataset_that_was_here_before_are_not_restored(dataset: Dataset) -> None:
    for name in ("dataset.json", "plans", "shards"):
        path = Path(dataset.store.uri) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert verify(Dataset.create(dataset.store.uri, dataset.recipe, dataset.classes, {})).faults == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: flip(path, 30)])
def test_a_withdrawal_that_is_damaged_or_lost_is_named_and_not_repaired(
    dataset: Dataset, damage: Callable[[Path], None]
) -> None:
    for clip in asked_clips(2):
        withdraw(dataset, [clip.clip_id], "asked for")
    damage(Path(dataset.store.uri) / "state/withdrawn/00000.json")
    findings = verify(dataset)
    assert [fault.file for fault in findings.faults] == ["state/withdrawn/00000.json"]
    assert take_out(dataset, findings) == []
    with pytest.raises(JobFailed, match=r"restore state/withdrawn/00000\.json from a copy"):
        require_nothing_left(findings, dataset.store.uri)


def test_a_shard_that_was_replaced_since_the_files_were_listed_is_no_fault(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = dataset.store.list("shards")
    forget = dataset.plan(0).clip_ids()[1]
    withdraw(dataset, [forget], "asked for")
    finish_withdrawals(dataset, Path(dataset.store.uri).with_suffix(".scratch"), lambda: True)
    listing = type(dataset.store).list
    monkeypatch.setattr(
        type(dataset.store),
        "list",
        lambda store, prefix="": listed if prefix == "shards" else listing(store, prefix),
    )
    assert verify(dataset).faults == []


def test_what_is_named_holds_no_control_characters(dataset: Dataset) -> None:
    lie(lambda m: m["clips"][0].update(clip_id="a\x1b[2J\nb"))(dataset)
    assert all(str(fault).isprintable() for fault in verify(dataset).faults)


def test_a_planned_shard_that_is_not_committed_is_no_fault(dataset: Dataset) -> None:
    data_file(dataset).with_suffix(".json").unlink()
    findings = verify(dataset)
    assert (findings.faults, findings.pending) == ([], [SHARD])


def test_a_marker_of_the_first_datasets_without_a_digest_is_read(dataset: Dataset) -> None:
    document = marker(dataset)
    del document["digest"]
    data_file(dataset).with_suffix(".json").write_text(json.dumps(document))
    assert verify(dataset).faults == []


def test_much_is_verified_by_several_processes(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinetics_pipeline.dataset.verify._WORTH_PROCESSES", 0)
    flip(data_file(dataset), 40_000)
    assert verify(dataset).bad_shards() == [SHARD]


@pytest.mark.parametrize("name", ["state/dataset.json", "state/plans/00000"])
def test_a_copy_that_a_killed_build_did_not_come_to_write_is_written_by_the_next(dataset: Dataset, name: str) -> None:
    copy = dataset.store.read(name)
    dataset.store.delete(name)
    dataset.complete_copies()
    assert dataset.store.read(name) == copy
