"""Datasets of schema version 1, committed with the tests, stay readable for ever, and say what they said then."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.dataset.dataset import Counts, Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards.codec import quantise_flow
from tests.builders.clips import drawn_flow, drawn_frames
from tests.data.make_schema_1 import FRAMES, GONE, HEIGHT, WIDTH

LAYOUTS: tuple[Layout, ...] = ("parquet", "array")


@pytest.fixture
def folder(tmp_path: Path, layout: Layout) -> Path:
    """A copy: opening a dataset keeps an index beside it."""
    committed = Path(__file__).parents[2] / "data" / f"schema_1_{layout}"
    return Path(shutil.copytree(committed, tmp_path / "data"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_plans_records_and_counts_are_read(folder: Path) -> None:
    dataset = Dataset.open(folder)
    size = sum(path.stat().st_size for path in folder.glob("shards/*.*") if path.suffix != ".json")
    assert dataset.counts() == Counts(4, 3, 0, {"gone": 1}, 2, size)
    assert dataset.outcomes()[GONE] == "gone"
    assert {name: record.frames for name, record in dataset.records().items() if record.outcome == "ok"} == FRAMES
    assert dataset.unfinished() is None
    assert dataset.next_shard_numbers() == {"train": 1, "val": 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_fingerprint_is_what_it_was(folder: Path, layout: Layout) -> None:
    assert fingerprint(Dataset.open(folder)).to_json() == EXPECTED[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
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
}
