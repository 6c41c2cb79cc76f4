"""What `tools export` writes for other libraries, read back by those libraries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.dataset.card import write_card
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.video.frames import read_clip
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.datasets import export as exporting
from kinetics_pipeline.workflows.datasets.exports import tars
from kinetics_pipeline.workflows.datasets.exports.clips import exported_clips
from tests.builders import clips as drawn
from tests.builders.clips import asked_clips, commit, planned

RECIPE = Recipe(short_side=48, flow="none")


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Five clips, with classes that do not sort as their numbers do; the last lies in `val`."""
    monkeypatch.setattr(drawn, "CLASSES", ["up", "right", "left"])
    dataset = Dataset.create(tmp_path / "data", RECIPE, drawn.CLASSES, {"asked #1.csv": "00"})
    for shard in planned(dataset, asked_clips(5, ("train", "train", "train", "train", "val"))).shards():
        commit(dataset, shard.name, shard.clips)
    return dataset


def exported(dataset: Dataset, form: str, to: Path) -> None:
    assert run(["tools", "export", dataset.store.uri, "--format", form, "--to", str(to)]) == 0


def numbers(dataset: Dataset) -> dict[str, int]:
    """The class number of each clip, by the dataset's own list."""
    return {name: dataset.classes.index(record.label or "") for name, record in dataset.records().items()}


def shape_of(video: bytes, folder: Path) -> tuple[int, ...]:
    (folder / "read.mp4").write_bytes(video)
    return read_clip(folder / "read.mp4", None, None, short_side=48).shape


def test_webdataset_reads_each_clip_with_its_class_number_and_what_is_known_of_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    webdataset = pytest.importorskip("webdataset")
    monkeypatch.setattr(tars, "CLIPS", 3)
    exported(dataset, "webdataset", tmp_path / "out")
    names = ["train-000000.tar", "train-000001.tar", "val-000000.tar"]
    assert sorted(os.listdir(tmp_path / "out")) == names
    files = [str(tmp_path / "out" / name) for name in names]
    samples = list(webdataset.WebDataset(files, shardshuffle=False).decode())
    assert {sample["json"]["clip_id"]: sample["cls"] for sample in samples} == numbers(dataset)
    assert all(sample["__key__"] == sample["json"]["clip_id"] for sample in samples)
    assert all(dataset.classes[sample["cls"]] == sample["json"]["label"] for sample in samples)
    assert all(shape_of(sample["mp4"], tmp_path) == (40, 48, 64, 3) for sample in samples)


def test_tars_that_are_there_stay_and_a_clip_that_is_withdrawn_is_in_none_of_the_next_export(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tars, "CLIPS", 3)
    out = tmp_path / "out"
    exported(dataset, "webdataset", out)
    (out / "train-000001.tar").write_bytes(b"")  # as if it had been damaged
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    exported(dataset, "webdataset", out)
    assert [name for name, when in before.items() if (out / name).stat().st_mtime_ns != when] == ["train-000001.tar"]
    (tmp_path / "ids.txt").write_text("v001\n")
    assert run(["tools", "forget", dataset.store.uri, "--ids", str(tmp_path / "ids.txt"), "--reason", "asked"]) == 0
    capsys.readouterr()
    exported(dataset, "webdataset", out)
    assert "1 tar of an earlier export was removed" in capsys.readouterr().out
    held = []
    for path in out.glob("*.tar"):
        with tarfile.open(path) as tar:
            held += tar.getnames()
    assert len(held) == 4 * 3
    assert not any(name.startswith("v001") for name in held)


@pytest.mark.parametrize("form", ["mp4", "frames", "webdataset"])
def test_a_withdrawn_clip_goes_from_an_earlier_export_also_the_last_of_its_split(
    dataset: Dataset, tmp_path: Path, form: str
) -> None:
    exported(dataset, form, tmp_path / "out")
    assert any("val" in str(path.relative_to(tmp_path)) for path in tmp_path.glob("out/**/*val*"))
    (tmp_path / "ids.txt").write_text("v004\n")
    assert run(["tools", "forget", dataset.store.uri, "--ids", str(tmp_path / "ids.txt"), "--reason", "asked"]) == 0
    exported(dataset, form, tmp_path / "out")
    assert not list(tmp_path.glob("out/**/v004*"))
    assert not list(tmp_path.glob("out/val-*.tar"))
    assert list(tmp_path.glob("out/train-*.tar" if form == "webdataset" else "out/train/*/v003*"))


def test_names_in_a_tar_have_no_dot_and_are_never_the_same(dataset: Dataset) -> None:
    (some, *_) = exported_clips(dataset, None, None)

    def named(*names: str) -> list[str]:
        clips = [dataclasses.replace(some, place=dataclasses.replace(some.place, clip_id=name)) for name in names]
        return tars.keys_of(clips)

    assert named("a_000001_000011", "a_000001.500_000011.500") == ["a_000001_000011", "a_000001_500_000011_500"]
    assert named("a.b", "a_b", "a_b-2") == ["a_b-3", "a_b", "a_b-2"]
    assert named("a.b.c", "a.b_c", "a_b.c") == ["a_b_c", "a_b_c-2", "a_b_c-3"]


@pytest.mark.parametrize("most", [100_000, 3])
def test_hugging_face_reads_the_videos_with_the_datasets_class_numbers(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(exporting, "MOST_FILES", most)
    exported(dataset, "huggingface", tmp_path / "out")
    assert (tmp_path / "out" / "train").is_dir() == (most > 3)
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    video, label = ("video", "label") if most > 3 else ("mp4", "cls")
    assert found["train"].features[label].names == dataset.classes
    assert isinstance(found["train"].features[video], datasets.Video)
    read: dict[str, int] = {}
    for rows in found.values():
        for row in rows.cast_column(video, datasets.Video(decode=False)):
            about = row if most > 3 else row["json"]
            read[about["clip_id"]] = row[label]
            assert about["time_end"] - about["time_start"] == 10
            content = row[video]["bytes"] or Path(row[video]["path"]).read_bytes()
            assert shape_of(content, tmp_path) == (40, 48, 64, 3)
    assert read == numbers(dataset)


def test_hugging_face_reads_clips_that_have_no_classes_from_an_export_and_from_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dataset = Dataset.create(tmp_path / "data", RECIPE, [], {"asked.csv": "00"})
    clips = [dataclasses.replace(clip, label=None) for clip in asked_clips(2)]
    for shard in planned(dataset, clips).shards():
        commit(dataset, shard.name, shard.clips)
    write_card(dataset)
    exported(dataset, "huggingface", tmp_path / "out")
    for folder, rows in (("out", 2), ("data", 2 * 3)):
        found = datasets.load_dataset(str(tmp_path / folder), split="train", cache_dir=str(tmp_path / "cache"))
        assert list(found["label"]) == [-1] * rows


def test_a_folder_of_more_than_10_000_clips_is_too_many_for_hugging_face(dataset: Dataset) -> None:
    clips = list(exported_clips(dataset, None, None))
    assert not exporting.are_many(clips * 2000)
    assert exporting.are_many(clips * 10_000)


def test_croissant_names_each_shard_with_its_digest_and_each_column_and_class(dataset: Dataset) -> None:
    folder = Path(dataset.store.uri)
    exported(dataset, "croissant", folder)
    found = json.loads((folder / "croissant.json").read_text())
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    files = {one["contentUrl"]: one for one in found["distribution"] if one["@type"] == "cr:FileObject"}
    assert sorted(files) == [f"shards/{path.name}" for path in sorted(folder.glob("shards/*.parquet"))]
    for name, one in files.items():
        data = (folder / name).read_bytes()
        assert (one["sha256"], one["contentSize"]) == (hashlib.sha256(data).hexdigest(), f"{len(data)} B")
    sets = {one["name"]: one for one in found["recordSet"]}
    assert [one["class-names/name"] for one in sets["class-names"]["data"]] == dataset.classes
    columns = [column for column in pq.read_schema(folder / "shards/val-00000.parquet").names if "flow" not in column]
    assert [field["source"]["extract"]["column"] for field in sets["val"]["field"]] == columns


def test_mlcroissant_finds_nothing_wrong_and_reads_the_rows(dataset: Dataset) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    folder = Path(dataset.store.uri)
    exported(dataset, "croissant", folder)
    found = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not found.metadata.ctx.issues.errors
    rows = list(found.records(record_set="train"))
    assert len(rows) == 4 * 3
    assert {row["train/clip_id"].decode(): row["train/label"] for row in rows} == {
        clip.place.clip_id: clip.place.label for clip in exported_clips(dataset, "train", None)
    }
    assert rows[0]["train/rgb"][0].size == (64, 48)


@pytest.mark.parametrize("flag", [["--split", "val"], ["--ids", "ids.txt"]])
def test_croissant_describes_all_of_a_dataset_or_says_so(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: list[str]
) -> None:
    (tmp_path / "ids.txt").write_text("v001\n")
    words = [str(tmp_path / word) if word == "ids.txt" else word for word in flag]
    command = ["tools", "export", dataset.store.uri, "--format", "croissant", "--to", str(tmp_path / "out"), *words]
    assert run(command) == 2
    assert "croissant describes the whole dataset" in capsys.readouterr().err


def test_the_terms_go_with_the_card_and_with_croissant_and_are_no_markup(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "terms_of", lambda dataset: ["kinetics-400: CC BY 4.0 <b>"])
    exported(dataset, "huggingface", tmp_path / "out")
    exported(dataset, "croissant", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "- kinetics-400: CC BY 4.0" in card
    assert "<b>" not in card
    assert json.loads((tmp_path / "out/croissant.json").read_text())["license"] == "kinetics-400: CC BY 4.0 <b>"


def torchvision_tree(root: Path, split: str) -> dict[str, str]:
    """File -> class, by the rule of `torchvision.datasets.Kinetics`: `find_classes` and `make_dataset` of its folder
    module with the suffixes avi and mp4, over `root/split`."""
    classes = sorted(entry.name for entry in os.scandir(root / split) if entry.is_dir())
    assert classes, "FileNotFoundError in torchvision"
    return {
        name: label
        for label in classes
        for folder, _, files in sorted(os.walk(root / split / label, followlinks=True))
        for name in sorted(files)
        if name.lower().endswith(("avi", "mp4"))
    }


def test_mp4_lie_as_torchvisions_kinetics_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["petting animal (not cat)", "massaging person's head", "abseiling"]
    dataset = Dataset.create(tmp_path / "data", RECIPE, labels, {"asked.csv": "00"})
    monkeypatch.setattr(drawn, "CLASSES", labels)
    for shard in planned(dataset, asked_clips(3, ("val",))).shards():
        commit(dataset, shard.name, shard.clips)
    exported(dataset, "mp4", tmp_path / "out")
    assert torchvision_tree(tmp_path / "out", "val") == {
        "v000_000000_000010.mp4": "petting_animal_not_cat",
        "v001_000001_000011.mp4": "massaging_persons_head",
        "v002_000002_000012.mp4": "abseiling",
    }
    assert "torchvision numbers classes by the folders of a split: not as the dataset in val" in capsys.readouterr().out


def test_torchvisions_own_class_finds_the_mp4_and_their_classes(tmp_path: Path, dataset: Dataset) -> None:
    """Its decoder is another package's, which needs a system's libraries: the frames are not read."""
    module = pytest.importorskip("torchvision.datasets", exc_type=(ImportError, RuntimeError))
    exported(dataset, "mp4", tmp_path / "out")
    nothing = {"video_paths": [], "video_pts": [], "video_fps": []}
    found = module.Kinetics(str(tmp_path / "out"), 16, split="train", _precomputed_metadata=nothing)
    assert {Path(path).stem: found.classes[number] for path, number in found.samples} == {
        clip.place.clip_id: clip.label for clip in exported_clips(dataset, "train", None)
    }
