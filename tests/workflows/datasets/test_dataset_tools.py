"""`tools forget`, `tools convert`, `tools repair` and `inspect` as a user types them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.plan import Plan, plan_schema
from kinetics_pipeline.shards.markers import sealed
from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.training.job import _record
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from tests.builders.motion import asked, build_motion
from tests.builders.training import settings_of

LEFT, RIGHT, *_ = asked("train", 12)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six clips to train on, two to validate, of four classes; with the plan that `build` would have made."""
    made = build_motion(tmp_path, splits={"train": 6, "val": 2}, count=4)
    rows: list[dict[str, Any]] = []
    for marker in made.markers():
        for entry in marker.clips:
            named = {name: entry[name] for name in ("clip_id", "video_id", "time_start", "time_end", "label")}
            where = {"split": marker.split, "shard": marker.shard, "source": "local", "position": len(rows)}
            rows.append({**named, **where, "path": f"{entry['label']}/{entry['video_id']}.avi", "lists": "one two"})
    made.add_plan(Plan(pa.Table.from_pylist(rows, schema=plan_schema({"lists"}))))
    return made


def begun_run(dataset: Dataset, folder: Path, **flags: Any) -> Path:
    """A run folder as `train` begins it."""
    settings = settings_of(dataset, folder, **flags)
    RunFolder(folder).begin(_record(settings, dataset))
    return folder


def forget(dataset: Dataset, tmp_path: Path, clip_id: str, *flags: object) -> int:
    (tmp_path / "ids.txt").write_text(f"{clip_id}\n")
    reason = ["--ids", str(tmp_path / "ids.txt"), "--reason", "asked for"]
    return cli(["tools", "forget", dataset.store.uri, *reason, *map(str, flags)])


def test_forget_names_the_runs_that_were_trained_on_what_is_withdrawn(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    begun_run(dataset, runs / "all")
    begun_run(dataset, runs / "few", examples_per_class=1)
    begun_run(dataset, runs / "others", classes=(RIGHT.label, "up"))
    begun_run(dataset, runs / "val", train_split="val")
    begun_run(dataset, runs / "list", train_split="one")
    assert forget(dataset, tmp_path, LEFT.clip_id, "--runs", runs) == 0
    said = dict(re.findall(rf"{runs}/(\w+) (.*) 1 withdrawn clip, as {LEFT.clip_id}", capsys.readouterr().out))
    assert said == {
        "all": "was trained on",
        "few": "may have been trained on",
        "list": "may have been trained on",
    }
    assert LEFT.clip_id not in ClipDataset(dataset.store.uri, frames=4, crop=32).index["clip_id"].to_pylist()


def test_forget_refuses_a_folder_of_no_runs_before_anything_is_withdrawn(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert forget(dataset, tmp_path, LEFT.clip_id, "--runs", tmp_path / "empty") == 2
    assert "--runs names" in capsys.readouterr().err
    assert dataset.withdrawn() == {}


@pytest.mark.parametrize(
    "config", ['{"command": "train"}', '{"command": "train", "config": [], "classes": 5, "dataset": {}}', "[" * 100_000]
)
def test_forget_names_a_damaged_run_before_anything_is_withdrawn(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config)
    assert forget(dataset, tmp_path, LEFT.clip_id, "--runs", tmp_path / "run") == 2
    assert re.fullmatch(r"kinetics-pipeline: --runs names .*/run, whose .* damaged\n", capsys.readouterr().err)
    assert dataset.withdrawn() == {}


@pytest.mark.parametrize("place", ["nowhere", "ids.txt", "foo://a/b"])
def test_forget_names_a_place_of_no_kept_segments_before_anything_is_withdrawn(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    where = place if "://" in place else str(tmp_path / place)
    assert forget(dataset, tmp_path, LEFT.clip_id, "--kept", where) == 2
    assert where in capsys.readouterr().err
    assert dataset.withdrawn() == {}


def test_a_marker_that_lies_is_named_by_a_conversion(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(dataset.store.uri) / "shards" / "train-00000.json"
    document = json.loads(file.read_bytes())
    document["clips"][0]["frames"] += 1
    file.write_bytes(sealed(document))
    place = ["--output", str(tmp_path / "converted"), "--layout", "array"]
    assert cli(["tools", "convert", dataset.store.uri, *place]) == 1
    assert re.search(rf"kinetics-pipeline: {dataset.store.uri} is damaged .*\n\Z", capsys.readouterr().err)


def test_convert_makes_a_subset_with_the_same_values_lists_and_files(dataset: Dataset, tmp_path: Path) -> None:
    output = tmp_path / "arrays"
    flags = ["--layout", "array", "--classes", f"{LEFT.label},{RIGHT.label}", "--examples-per-class", "1"]
    command = ["tools", "convert", dataset.store.uri, *flags, "--output", str(output)]
    assert cli(command) == 0
    assert cli(command) == 0  # again: it is done already
    before, after = (
        {s["clip_id"]: s for s in ClipDataset(place, stream="both", frames=None, crop=None, train=False, raw=True)}  # type: ignore[attr-defined]
        for place in (dataset.store.uri, output)
    )
    assert {sample["label"] for sample in after.values()} == {0, 1}
    assert len(after) == 4
    for clip_id, sample in after.items():
        assert sample["label"] == before[clip_id]["label"]
        assert all(np.array_equal(sample[stream], before[clip_id][stream]) for stream in ("video", "flow"))
    assert len(ClipDataset(output, "two", frames=4, crop=32)) == 4
    frame = Dataset.open(output).plan(0).frame()
    assert all(path == f"{label}/{video}.avi" for path, label, video in frame[["path", "label", "video_id"]].to_numpy())


def test_convert_of_a_dataset_into_itself_or_by_a_class_that_is_none_is_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tools", "convert", dataset.store.uri, "--layout", "array", "--output"]
    assert cli([*command, dataset.store.uri]) == 2
    assert cli([*command, str(tmp_path / "other"), "--classes", "sideways"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "'sideways'" in errors[1]


def test_verify_names_and_repair_restores_a_plan_with_the_files_it_named(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(dataset.store.uri) / "plans/00000.parquet"
    was = path.read_bytes()
    path.write_bytes(was[:-100])
    assert cli(["verify", dataset.store.uri, "--quick"]) == 1
    assert "plans/00000.parquet: " in capsys.readouterr().out
    assert cli(["tools", "repair", dataset.store.uri]) == 0
    assert path.read_bytes() == was
    assert cli(["verify", dataset.store.uri]) == 0


def test_inspect_draws_frames_and_flow_and_prints_the_record(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    flags = ["--clip", LEFT.clip_id, "--frames", "3", "--picture", str(sheet)]
    assert cli(["tools", "inspect", dataset.store.uri, *flags]) == 0
    text = capsys.readouterr().out
    record = json.loads(text[: text.rindex("}") + 1])
    assert (record["clip_id"], record["outcome"], record["frames"]) == (LEFT.clip_id, "ok", 4)
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape[0] > 2 * 120  # a row of frames and one of flow
    assert cli(["tools", "inspect", dataset.store.uri, "--clip", "nobody"]) == 2


def test_what_a_conversion_still_lacks_is_made_by_the_same_command(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "arrays"
    command = ["tools", "convert", dataset.store.uri, "--output", str(output), "--layout", "array"]
    assert cli([*command, "--clips-per-shard", "4"]) == 0
    Dataset.open(output).store.delete("shards/val-00000.json")
    capsys.readouterr()
    assert cli(["status", str(output), "--json"]) == 0
    following = json.loads(capsys.readouterr().out)["next"]
    assert cli(shlex.split(following)[1:]) == 0
    assert Dataset.open(output).counts().pending == 0


@pytest.mark.parametrize("data", [b"[", b"[" * 100_000])
@pytest.mark.parametrize("name", ["run", "egress"])
def test_a_damaged_state_is_one_line(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], name: str, data: bytes
) -> None:
    dataset.store.write(f"state/{name}.json", data)
    assert cli(["status", dataset.store.uri]) == 1
    assert re.fullmatch(rf"kinetics-pipeline: .*/state/{name}\.json is damaged.*\n", capsys.readouterr().err)
