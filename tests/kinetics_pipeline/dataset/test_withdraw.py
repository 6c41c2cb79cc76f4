"""A withdrawn clip is gone at once and for good, whenever whoever withdraws it is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, remove_kept, withdraw
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.storage.open_store import open_store
from tests.builders.clips import CLASSES, asked_clips, built, commit, planned

CLIPS = asked_clips(8)
IDS = [clip.clip_id for clip in CLIPS]
RECIPE = Recipe(short_side=48, flow="none")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return built(tmp_path / "data", count=8, recipe=RECIPE)


def readable(dataset: Dataset) -> set[str]:
    """The clips that a loader reads, each of them really read."""
    clips = ClipDataset(dataset.store.uri, frames=40, crop=32, train=False)
    return {clips[number]["clip_id"] for number in range(len(clips))}


def forget(dataset: Dataset, *ids: str) -> None:
    withdraw(dataset, ids, "the person asked")
    finish_withdrawals(dataset, Path(dataset.store.uri).with_suffix(".scratch"), lambda: True)


def files(dataset: Dataset) -> dict[str, bytes]:
    return {name: dataset.store.read(name) for name, _ in dataset.store.list("shards") if not name.endswith(".json")}


@pytest.mark.parametrize("layout", ["parquet", "array", "video"])
def test_what_is_left_has_the_bytes_of_a_build_without_the_clip(tmp_path: Path, layout: str) -> None:
    recipe = Recipe(short_side=48, layout=layout)  # type: ignore[arg-type]
    dataset = built(tmp_path / "a", count=5, recipe=recipe)
    forget(dataset, IDS[1])
    without = built(tmp_path / "b", count=5, recipe=recipe, outcomes={IDS[1]: "withdrawn"})
    assert files(dataset) == files(without)
    assert verify(dataset).faults == []
    assert dataset.records()[IDS[1]].detail == "the person asked"
    assert fingerprint(dataset) == fingerprint(without)


def test_a_tombstone_alone_takes_the_clip_from_readers_and_changes_the_fingerprint(dataset: Dataset) -> None:
    assert readable(dataset) == {*IDS}
    before = fingerprint(dataset)
    withdraw(dataset, [IDS[2]], "why")
    assert readable(dataset) == {*IDS} - {IDS[2]}
    assert dataset.outcomes()[IDS[2]] == "withdrawn"
    after = fingerprint(dataset)
    assert (after.annotations, after.recipe) == (before.annotations, before.recipe)
    assert after.survivors != before.survivors
    assert after.content != before.content


def test_a_shard_none_of_whose_clips_is_left_has_no_data_file(dataset: Dataset) -> None:
    first = dataset.plan(0).clip_ids()[:4]
    forget(dataset, *first)
    assert sorted(files(dataset)) == ["shards/train-00001.parquet"]
    assert readable(dataset) == {*IDS} - {*first}
    assert verify(dataset).faults == []


def test_a_video_is_withdrawn_with_all_its_clips_those_of_tomorrow_too(dataset: Dataset) -> None:
    forget(dataset, CLIPS[3].video_id, "v009")
    assert readable(dataset) == {*IDS} - {IDS[3]}
    plan = planned(dataset, asked_clips(10), retry=["all"])
    assert [clip for clip in plan.clip_ids() if clip not in IDS] == [asked_clips(10)[8].clip_id]
    counts = dataset.counts()
    assert (counts.clips, counts.ok, counts.pending, counts.failed) == (9, 7, 1, {"withdrawn": 1})


def test_a_shard_that_is_made_again_does_not_bring_the_clip_back(dataset: Dataset) -> None:
    forget(dataset, IDS[0])
    shard = next(m.shard for m in dataset.markers() if any(e["clip_id"] == IDS[0] for e in m.clips))
    dataset.store.delete(f"shards/{shard}.json")
    commit(dataset, shard, next(s.clips for s in dataset.plan(0).shards() if s.name == shard))  # as ok: by no build
    assert IDS[0] not in readable(dataset)
    assert dataset.outcomes()[IDS[0]] == "withdrawn"


def test_kept_segments_go_too(dataset: Dataset, tmp_path: Path) -> None:
    kept = open_store(tmp_path / "kept")
    for clip in IDS:
        kept.write(f"train/{clip}.mp4", b"")
    forget(dataset, IDS[0], CLIPS[1].video_id)
    assert remove_kept(kept, dataset, [IDS[0], CLIPS[1].video_id]) == 2
    assert [name for name, _ in kept.list()] == sorted(f"train/{clip}.mp4" for clip in IDS[2:])


def test_only_segments_of_what_is_asked_are_removed_whatever_a_dataset_says(tmp_path: Path) -> None:
    """A stranger's plan that calls somebody else's clips clips of the video that is withdrawn."""
    clips = [replace(clip, video_id="asked_for") for clip in CLIPS[:2]]
    clips.append(replace(CLIPS[2], video_id="asked_for", clip_id="asked_for_000002_000012"))
    dataset = Dataset.create(tmp_path / "data", Recipe(), CLASSES, {})
    planned(dataset, clips)
    kept = open_store(tmp_path / "kept")
    for clip in clips:
        kept.write(f"train/{clip.clip_id}.mp4", b"")
    assert remove_kept(kept, dataset, ["asked_for"]) == 1
    assert [name for name, _ in kept.list()] == sorted(f"train/{clip.clip_id}.mp4" for clip in clips[:2])


@pytest.mark.parametrize("reason", ["", " ", "two\nlines", "two\u2028lines", "\x1b[2J", "\x9b2J", "\x7f", "x" * 501])
def test_a_reason_is_a_line(dataset: Dataset, reason: str) -> None:
    with pytest.raises(UserError, match="reason"):
        withdraw(dataset, IDS[:1], reason)


def test_a_damaged_tombstone_is_never_passed_over(dataset: Dataset) -> None:
    withdraw(dataset, IDS[:1], "why")
    stone = Path(dataset.store.uri) / "state" / "withdrawn" / "00000.json"
    stone.write_bytes(stone.read_bytes().replace(b"v000", b"v001"))
    with pytest.raises(JobFailed, match=r"00000\.json is damaged"):
        dataset.outcomes()


def test_a_store_that_removes_nothing_is_named_and_not_asked_for_ever(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(dataset.store), "delete", lambda store, name: None)
    for withdrawn in ([IDS[0]], dataset.plan(0).clip_ids()[:4]):  # a shard rewritten, a shard of which nothing is left
        with pytest.raises(JobFailed, match=r"train-0000\d.*still there"):
            forget(dataset, *withdrawn)


def test_a_strange_file_among_the_withdrawals_is_none(dataset: Dataset) -> None:
    dataset.store.write("state/withdrawn/.DS_Store", b"\0")
    forget(dataset, IDS[0])
    assert dataset.tombstone_names() == ["state/withdrawn/00000.json"]
    assert verify(dataset).faults == []


KILLED = """
import os, signal, sys
from pathlib import Path
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.dataset.withdraw import withdraw, finish_withdrawals

folder, step, *ids = sys.argv[1:]
left = int(step)

def counting(name):
    was = getattr(LocalStore, name)
    def counted(self, *arguments):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return was(self, *arguments)
    setattr(LocalStore, name, counted)

for name in ("write", "create", "create_from", "upload", "delete"):
    counting(name)
dataset = Dataset.open(folder)
withdraw(dataset, ids, "why")
finish_withdrawals(dataset, Path(folder).with_suffix(".scratch"), lambda: True)
"""


def test_killed_at_any_step_it_is_whole_and_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    plan = dataset.plan(0).clip_ids()
    gone = [plan[1], *plan[4:8]]  # a clip of the first shard, all of the second
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    for step in range(30):
        folder = tmp_path / f"killed-{step}"
        shutil.copytree(dataset.store.uri, folder)
        killed = subprocess.run([sys.executable, "-c", KILLED, folder, str(step), *gone], env=environment, check=False)
        found = Dataset.open(folder)
        assert readable(found) == ({*IDS} if step == 0 else {*IDS} - {*gone})
        assert verify(found).faults == []
        forget(found, *gone)
        assert readable(found) == {*IDS} - {*gone}
        assert verify(found).faults == []
        assert [name for name, _ in found.store.list("shards")] == [
            "shards/train-00000.json",
            "shards/train-00000.parquet",
            "shards/train-00001.json",
        ]
        if killed.returncode == 0:
            break
    assert step >= 7
