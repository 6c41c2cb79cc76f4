"""The dataset card: Hugging Face's own library reads the folder by it, and what somebody wrote instead stays."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinetics_pipeline.dataset.card import CARD, refresh_card, write_card
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.codec import decode_rgb
from tests.builders.clips import asked_clips, commit, planned

datasets = pytest.importorskip("datasets")
DATA = Path(__file__).parents[2] / "data"
CLASSES = ["left", 'it\'s "up": yes\u2028#', "right"]


@pytest.fixture(params=["parquet", "array"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    layout: Layout = request.param
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = Recipe(short_side=24, flow="none", layout=layout)
    dataset = Dataset.create(tmp_path / "data", recipe, ["left", "right", "up"], {"train: #1.csv": "00"})
    for shard in planned(dataset, asked_clips(4, ("train", "train", "val", "test"))).shards():
        lost = {clip.clip_id: "gone" for clip in shard.clips if clip.split == "test"}
        commit(dataset, shard.name, shard.clips, outcomes=lost, height=24, width=32)
    return dataset


def loaded(dataset: Dataset, tmp_path: Path):  # type: ignore[no-untyped-def]
    return datasets.load_dataset(dataset.store.uri, cache_dir=str(tmp_path / "cache"))


def test_load_dataset_reads_the_splits_that_have_clips_with_their_class_names(dataset: Dataset, tmp_path: Path):
    assert write_card(dataset)
    found = loaded(dataset, tmp_path)
    assert {split: set(rows["video_id"]) for split, rows in found.items()} == {
        "train": {"v000", "v001"},
        "val": {"v002"},
    }
    assert found["train"].features["label"].names == ["left", "right", "up"]
    assert {(row["clip_id"][:4], row["split"], row["time_start"], row["label"]) for row in found["val"]} == {
        ("v002", "val", 2.0, 2)
    }


def test_the_frames_that_it_gives_are_those_of_the_shard(dataset: Dataset, tmp_path: Path):
    if dataset.recipe.layout == "array":
        pytest.skip("its frames are bytes")
    write_card(dataset)
    row = loaded(dataset, tmp_path)["val"][0]
    assert len(row["rgb"]) == row["n"] == 16
    stored = io.BytesIO()
    row["rgb"][3].save(stored, format="PNG")
    plain = loaded(dataset, tmp_path)["val"].cast_column("rgb", datasets.List(datasets.Image(decode=False)))
    expected = np.empty((24, 32, 3), np.uint8)
    decode_rgb(plain[0]["rgb"][3]["bytes"], expected)
    assert np.abs(np.asarray(Image.open(stored)).astype(int) - expected).max() <= 3


def test_a_label_of_any_characters_is_read_back(tmp_path: Path):
    dataset = Dataset.create(tmp_path / "data", Recipe(short_side=24, flow="none"), CLASSES, {"a.csv": "00"})
    clips = [asked_clips(1)[0]]
    commit(dataset, planned(dataset, clips).shard_names()[0], clips, height=24, width=32)
    write_card(dataset)
    assert loaded(dataset, tmp_path)["train"].features["label"].names == CLASSES


def test_a_dataset_without_a_clip_has_a_card_too_and_a_place_without_a_dataset_none(tmp_path: Path):
    dataset = Dataset.create(tmp_path / "data", Recipe(short_side=24), ["left"], {"a.csv": "00"})
    refresh_card(dataset.store.uri)
    assert "configs" not in (tmp_path / "data" / CARD).read_text()
    refresh_card(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_a_text_that_somebody_put_there_stays(dataset: Dataset):
    dataset.store.write(CARD, b"# Mine\n")
    assert not write_card(dataset)
    assert dataset.store.read(CARD) == b"# Mine\n"


def test_a_dataset_begun_under_the_first_schema_is_read_also_when_shards_of_the_second_lie_beside_it(tmp_path: Path):
    shutil.copytree(DATA / "schema_1_parquet", tmp_path / "data")
    dataset = Dataset.open(tmp_path / "data")
    there = asked_clips(4, ("train", "train", "train", "val"))
    new = [clip for clip in asked_clips(8, ("train", "train", "train", "val")) if clip not in there]
    for shard in planned(dataset, new).shards():
        commit(dataset, shard.name, shard.clips, plan=1, height=24, width=32)
    write_card(dataset)
    found = loaded(dataset, tmp_path)
    assert {split: {row["clip_id"][:4] for row in rows} for split, rows in found.items()} == {
        "train": {"v000", "v002", "v004", "v005", "v006"},
        "val": {"v003", "v007"},
    }
    assert found["train"].features["label"].names == dataset.classes
    assert found["val"][0]["rgb"][0].size == (32, 24)
