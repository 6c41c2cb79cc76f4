"""The log of a build, and what `status --clip` makes of it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.plan import PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.sources.base import Failure
from kinetics_pipeline.sources.pace.retries import Event
from kinetics_pipeline.workflows.benchmarks import scale
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.state import Attempts
from kinetics_pipeline.workflows.building.watch.event_log import (
    NAME,
    EventLog,
    Line,
    lines_with,
    log_folder,
    packed_files,
)
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.driven_builds import DrivenBuild, Watched
from tests.builders.youtube_builds import asked_for
from tests.workflows.building.watch.test_live_state import Server


def test_a_log_that_is_full_is_packed_and_the_oldest_go(tmp_path: Path) -> None:
    log = EventLog(tmp_path, file_bytes=2000, packed_files=3)
    for number in range(400):
        log.write([Line("2026-01-01T00:00:00.000Z", "finished", clip=f"clip{number:03d}")])
    assert [number for _, number in packed_files(tmp_path)] == [1, 2, 3]
    kept = [line["clip"] for line in lines_with(tmp_path, ["clip"])]
    assert kept == [f"clip{number:03d}" for number in range(400 - len(kept), 400)]
    assert 75 < len(kept) < 125
    assert log.lost == 0


def test_what_is_damaged_in_a_log_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"clip":"a"}\n{"clip":"a\n\xff"a"\n["a"]\n{"clip":"a","n":2}\n{"clip":"a"')
    (tmp_path / f"{NAME}.2.gz").write_bytes(b"no archive: a")
    (tmp_path / f"{NAME}.1.gz").write_bytes(gzip.compress(b'{"clip":"a","n":1}\n' * 5)[:-9])
    (tmp_path / f"{NAME}.x.gz").write_bytes(b"")
    found = list(lines_with(tmp_path, ["a"]))
    assert found[-2:] == [{"clip": "a"}, {"clip": "a", "n": 2}]


def test_a_disk_that_refuses_the_log_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    log = EventLog(tmp_path / "file" / "log")
    log.write([Line("", "finished"), Line("", "finished")])
    assert log.lost == 2


def test_every_event_of_every_clip_is_a_line(tmp_path: Path) -> None:
    build = DrivenBuild(tmp_path, Server(Failure("network", "timed out")))  # type: ignore[arg-type]
    videos = [f"okokoko{number:04d}" for number in range(20)]
    table = load_annotations([str(asked_for(tmp_path, videos).annotations)]).table
    folder = tmp_path / "log"
    build.run(table, watched=Watched(log=EventLog(folder)))
    lines = list(lines_with(folder, ["{"]))
    last = {line["video"]: line["outcome"] for line in lines if line["event"] == "finished"}
    assert {video: outcome for video, outcome in last.items() if video in build.outcomes} == build.outcomes
    tries = Counter(line["video"] for line in lines if line["event"] == "fetched")
    assert {tries[video] for video, outcome in last.items() if outcome == "network"} == {3}  # as the policy says
    fetched = next(line for line in lines if line["event"] == "fetched" and line["outcome"] == "ok")
    assert (fetched["stage"], fetched["lane"], fetched["node"], fetched["bytes"]) == ("fetch", "server", "first", 1000)


@pytest.fixture
def planned(tmp_path: Path) -> Dataset:
    dataset = Dataset.create(tmp_path / "data", Recipe(short_side=32, flow="none"), ["running"], {})
    table = load_annotations([str(asked_for(tmp_path, ["okokoko0001", "okokoko0002"]).annotations)]).table
    settings = PlanSettings()
    dataset.add_plan(make_plan(table, outcomes={}, settings=settings, held_locally=lambda clips: [], next_shard={}))
    return dataset


def test_the_way_of_a_clip_is_told_from_plan_attempts_and_log(
    planned: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, video = "okokoko0001_000010_000012", "okokoko0001"
    attempts = Attempts(planned.store, lambda: 1e9)
    attempts.add(clip, Event("it", "network", "timed\x1b[2J out"))
    attempts.save(at_once=True)
    folder = log_folder(tmp_path / "cache", CacheFolders.of_dataset(tmp_path / "cache", planned).root.name)
    other = Line("T2", "fetched", video=video, clips=["another"], outcome="ok")
    EventLog(folder).write([Line("T1", "fetched", video=video, clips=[clip], outcome="network", seconds=3.5), other])
    data, cache = str(tmp_path / "data"), str(tmp_path / "cache")
    assert cli(["status", data, "--clip", clip, "--cache", cache]) == 0
    said = capsys.readouterr().out
    told = (
        "label running",
        "plan 00000: shard train-00000",
        "not committed yet",
        "tried since: network",
        "T1  fetched",
    )
    assert [words for words in told if words not in said] == []
    assert "T2" not in said
    assert "\x1b" not in said
    assert cli(["status", data, "--clip", clip, "--cache", str(tmp_path / "other"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["log"], document["attempts"][0]["outcome"]) == ([], "network")


def test_the_way_of_a_committed_clip_ends_with_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "CLIPS_PER_SHARD", 3)
    scale.make(tmp_path / "data", 2)
    (clip_id, outcome), *_ = Dataset.open(tmp_path / "data").outcomes().items()
    assert cli(["status", str(tmp_path / "data"), "--clip", clip_id]) == 0
    said = capsys.readouterr().out
    assert f"outcome {outcome}" in said
    assert "not committed yet" not in said


def test_a_clip_that_nobody_planned_is_named_with_those_of_its_video(
    planned: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["status", str(tmp_path / "data"), "--clip", "okokoko0001"]) == 2
    assert "it has of that video: okokoko0001_000010_000012" in capsys.readouterr().err
