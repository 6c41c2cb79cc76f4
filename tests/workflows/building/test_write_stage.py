"""The writing stage on a node, when another build clears the cache that it works in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record, Spent
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.workflows.building import ray_executor
from kinetics_pipeline.workflows.building import write as writing
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.executor import Lost
from kinetics_pipeline.workflows.building.plan_run import FinishedClip
from kinetics_pipeline.workflows.building.ray_executor import RayExecutor
from kinetics_pipeline.workflows.building.write import Committed, WriteJob, write
from tests.builders.clips import CLASSES, asked_clips, payload_of, planned, record_of

RECIPE = Recipe(short_side=48, flow="none")


def planned_and_prepared(folder: Path) -> tuple[Dataset, list[Clip], CacheFolders]:
    """A dataset with a plan of two clips, and the folders of a cache."""
    dataset = Dataset.create(folder / "data", RECIPE, CLASSES, {})
    clips = asked_clips(2)
    planned(dataset, clips)
    folders = CacheFolders.of(folder / "cache", "data")
    folders.prepare()
    return dataset, clips, folders


def job_of(dataset: Dataset, finished: tuple[FinishedClip, ...]) -> WriteJob:
    return WriteJob(dataset.store.uri, "00000", "train-00000", finished, RECIPE, tuple(CLASSES), 1)


def test_a_writer_whose_folder_another_build_removes_is_lost_and_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, clips, folders = planned_and_prepared(tmp_path)
    for clip in clips:
        Spool(folders.spool).put(record_of(clip), payload_of(clip, RECIPE))
    finished = tuple(FinishedClip(record_of(clip), "here") for clip in clips)
    job = job_of(dataset, finished)

    def cleared(*_: object) -> bool:
        shutil.rmtree(folders.scratch)
        return True

    monkeypatch.setattr(writing, "is_current", cleared)
    assert isinstance(write(folders, job), Lost)
    assert dataset.marker_names() == []
    monkeypatch.setattr(writing, "is_current", lambda *_: True)
    written = write(folders, job)
    assert written == Committed((tmp_path / "data" / "shards" / "train-00000.parquet").stat().st_size)


def test_a_shard_without_a_clip_is_written_by_the_driver_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, clips, folders = planned_and_prepared(tmp_path)
    monkeypatch.setattr(ray_executor, "this_node", lambda: "here")  # no cluster is there to be asked
    monkeypatch.setattr(writing, "is_current", lambda *_: True)
    executor = RayExecutor(folders, print, on_gpu=False, slots=1, grows=False)
    finished = tuple(FinishedClip(Record.of(clip, "not_found", "", Spent()), None) for clip in clips)
    job = job_of(dataset, finished)
    ref = executor.start_write(job, None)
    assert executor.wait([ref], 30) == [ref]
    assert executor.written(ref) == Committed(0)
    (marker,) = dataset.markers()
    assert [(one["clip_id"], one["outcome"]) for one in marker.clips] == [(c.clip_id, "not_found") for c in clips]
