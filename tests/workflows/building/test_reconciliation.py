"""What was asked beside what there is, counted by hand; and videos that were trained on before they are evaluated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from kinetics_pipeline.annotations.columns import as_columns
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.sources.archives.listed import ArchiveList, Contents, ListedArchive
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.workflows.building.archives.state import ArchiveState
from kinetics_pipeline.workflows.building.copies import CopySource
from kinetics_pipeline.workflows.building.reconciliation import (
    FILE,
    SOURCES,
    SourceCounts,
    note_sources,
    reconcile,
    refresh_summaries,
    told,
)
from kinetics_pipeline.workflows.building.state import RUN
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.scoring.seen_in_training import seen_in_training
from tests.builders.clips import CLASSES, asked_clips, commit, payload_of, planned, record_of

TOLD = {
    # video: outcome, source, detail
    "v000": ("ok", "cvdf", "enlarged from a short side of 112"),
    "v001": ("ok", "cvdf", "part_0.tar.gz: moov atom not found; used replacement.tgz"),
    "v002": ("ok", "youtube", "cvdf: no file"),
    "v003": ("gone", "", "cvdf: no file; removed by the uploader"),
    "v004": ("decode", "", "part_1.tar.gz: invalid data; removed by the uploader"),
    "v005": ("private", "", "cvdf: no file; private video"),
    "v006": ("network", "", "cvdf: no file; timed out"),
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven clips with an outcome, and one that was planned alone."""
    dataset = Dataset.create(tmp_path / "data", Recipe(short_side=24, flow="none"), CLASSES, {"k.csv": "00"})
    clips = asked_clips(8)
    (shard,) = planned(dataset, clips[:7], clips_per_shard=7).shards()
    items = []
    for clip in shard.clips:
        outcome, source, detail = TOLD[clip.video_id]
        record = replace(record_of(clip, outcome), source=source, detail=detail)
        items.append((record, payload_of(clip, dataset.recipe, 40, 24, 32) if outcome == "ok" else b""))
    write_shard(
        dataset.store,
        name="train-00000",
        plan="00000",
        clips=items,
        recipe=dataset.recipe,
        classes=dataset.classes,
        scratch=tmp_path,
        still_current=lambda: True,
    )
    assert len(planned(dataset, clips)) == 1
    command = "kinetics-pipeline build Kinetics-400 --source cvdf --source youtube --output data"
    dataset.store.write(RUN, json.dumps({"command": command, "config": {}}).encode())
    return dataset


def test_each_split_and_source_is_counted_beside_what_is_known(dataset: Dataset) -> None:
    found = reconcile(dataset)
    train = found.splits["train"]
    assert (train.asked, train.known, train.in_copy) == (8, 246_534, 241_258)
    assert (train.there, train.lacking, train.broken, train.needs_access, train.may_come) == (3, 1, 1, 1, 2)
    assert train.sources == {
        "cvdf": SourceCounts(there=2, lacking=4, replaced=1, enlarged=1),
        "youtube": SourceCounts(there=1, lacking=1),
    }
    assert found.versions == ["kinetics-400"]
    assert [line.split(":")[0] for line in found.terms] == ["kinetics-400", "kinetics-400"]


def test_the_file_beside_the_dataset_holds_the_same_and_report_shows_it(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {"videos": 5, "extra": 2, "archives": 9, "unread": 1, "lost": 2, "sizes_unknown": 2}
    dataset.store.write(SOURCES, json.dumps({"cvdf": held}).encode())
    refresh_summaries(dataset.store.uri)
    kept = json.loads((Path(dataset.store.uri) / FILE).read_text())
    assert kept == json.loads(json.dumps(reconcile(dataset).to_json()))
    assert kept["splits"]["train"]["sources"]["cvdf"]["replaced"] == 1
    assert run(["report", dataset.store.uri]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "all", "8", "3", "1", "1", "1", "246534"] in lines
    assert ["cvdf", "6", "2", "4", "0", "1", "2", "241258"] in lines
    assert ["youtube", "2", "1", "1", "0", "0"] in lines
    assert ["cvdf:", "9", "archives,", "1", "not", "read", "yet,", "2", "lost,", "2", "of", "unknown", "size"] in lines
    enlarged = "clips of cvdf that are enlarged, since their pictures are smaller than the recipe: 1"
    assert enlarged in [" ".join(line) for line in lines]


def test_state_from_a_stranger_is_a_line_and_no_traceback(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.store.write(SOURCES, b'{"cvdf": {"videos": -1, "extra": "x"}}')
    assert run(["report", dataset.store.uri]) == 1
    assert "state/sources.json is damaged" in capsys.readouterr().err
    refresh_summaries(dataset.store.uri)  # a build that ends is not disturbed


def test_videos_that_nobody_asked_for_are_counted(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("v000.mp4", "v001_000001_000011.mkv", "other.mp4", "._v002.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"x")
    columns = ("clip_id", "video_id", "time_start", "time_end", "label", "split")
    table = pd.DataFrame([{name: getattr(clip, name) for name in columns} for clip in asked_clips(8)])
    archive = ListedArchive(
        key="a", names=["x/part_0.tar"], copy="key", sizes=[1], versions=[""], replaces=False, group=0
    )
    state = ArchiveState(dataset.store)
    state.freeze(ArchiveList(archives=[archive]))
    members = [("t/v003_000003_000013.mp4", 0, 1), ("t/v003_000004_000014.mp4", 0, 1), ("t/nobody.mp4", 0, 1)]
    state.learn(archive, Contents(members=members))
    asked: Any = SimpleNamespace(
        sources=(FolderSource(tmp_path / "videos"), CopySource("cvdf", (), "")),
        keys=("f", "key"),
        annotations=SimpleNamespace(columns=as_columns(table)),
    )
    note_sources(dataset.store, asked)
    assert json.loads(dataset.store.read(SOURCES)) == {
        "videos": {"videos": 3, "extra": 1},
        "cvdf": {"videos": 3, "extra": 2, "archives": 1},
    }
    assert [row for row in told(reconcile(dataset)) if row[1] == "videos"] == []


def _trained_on(other: Dataset, folder: Path, uri: str | None = None) -> Any:
    (folder / "checkpoints").mkdir(parents=True)
    record = {"dataset": {"uri": uri or other.store.uri}, "config": {"train_split": "train"}}
    (folder / "config.json").write_text(json.dumps(record))
    return SimpleNamespace(path=folder / "checkpoints/best.pt", fingerprint=fingerprint(other).to_json())


def test_videos_of_the_split_that_were_trained_on_in_another_dataset_are_counted(tmp_path: Path) -> None:
    recipe = Recipe(short_side=24, flow="none")
    older = Dataset.create(tmp_path / "k400", recipe, CLASSES, {})
    newer = Dataset.create(tmp_path / "k700", recipe, CLASSES, {})
    for dataset, splits in ((older, ("train", "val")), (newer, ("val", "train"))):
        for shard in planned(dataset, asked_clips(4, splits)).shards():
            commit(dataset, shard.name, shard.clips, height=24, width=32)
    trained = _trained_on(newer, tmp_path / "run")
    (line,) = seen_in_training([trained], older, "val")
    assert "2 of 2 videos of val were trained on" in line
    assert seen_in_training([trained], older, "train") == []
    assert seen_in_training([_trained_on(older, tmp_path / "same")], older, "val") == []
    (line,) = seen_in_training([_trained_on(newer, tmp_path / "gone", "/nowhere")], older, "val")
    assert "is not known" in line
