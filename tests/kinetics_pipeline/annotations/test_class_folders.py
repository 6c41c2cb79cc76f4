"""Videos in class folders, and clips shared out among splits."""

from collections import Counter
from pathlib import Path

import pytest

from kinetics_pipeline.annotations.split_by import parse_shares, split_of
from kinetics_pipeline.annotations.table import Annotations, load_annotations
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.plan import PlanSettings, make_plan


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def rows(annotations: Annotations) -> list[tuple[str, str, str]]:
    table = annotations.table
    return list(zip(table["path"], table["label"], table["split"], strict=True))


def test_a_class_is_the_folder_of_its_videos(tmp_path: Path):
    root = tree(tmp_path / "mine", "run/b.mp4", "run/deep/c.MKV", "walk/a_000001_000011.avi", "walk/notes.txt", "x.mp4")
    annotations = load_annotations([root])
    assert rows(annotations) == [
        ("run/b.mp4", "run", "train"),
        ("run/deep/c.MKV", "run", "train"),
        ("walk/a_000001_000011.avi", "walk", "train"),
    ]
    assert annotations.table["clip_id"].tolist() == ["b", "c", "a_000001_000011"]
    assert annotations.labels == ["run", "walk"]
    assert annotations.folders == (root,)


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("train_256", "val_256", "testing")])
def test_folders_of_splits_may_lie_above_those_of_classes(tmp_path: Path, names):
    root = tree(tmp_path, *(f"{name}/training dog/{number}.mp4" for number, name in enumerate(names)))
    assert [(label, split) for _, label, split in sorted(rows(load_annotations([root])))] == [
        ("training dog", "test"),
        ("training dog", "train"),
        ("training dog", "val"),
    ]


def test_a_class_whose_name_says_a_split_is_a_class(tmp_path: Path):
    root = tree(tmp_path, "training dog/a.mp4", "run/b.mp4")
    assert load_annotations([root]).labels == ["run", "training dog"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a.mp4"], "is a folder without videos in class folders"),
        (["run/a.txt"], "is a folder without videos in class folders"),
        (["train/run/a.mp4", "walk/b.mp4"], r"holds folders of splits \(train\) beside folders of classes \(walk\)"),
    ],
)
def test_a_folder_that_cannot_be_understood_is_named(tmp_path: Path, paths, message):
    with pytest.raises(UserError, match=message) as error:
        load_annotations([tree(tmp_path, *paths)])
    assert "\n" not in str(error.value)


def test_a_folders_name_matches_the_class_however_it_is_written(tmp_path: Path):
    root = tree(tmp_path / "mine", "Petting_animal_not_cat/a.mp4", "massaging_persons_head/b.mp4", "other/c.mp4")
    labels = ["petting animal (not cat)", "massaging person's head", "other"]
    assert {(path, label) for path, label, _ in rows(load_annotations([root], labels=labels))} == {
        ("Petting_animal_not_cat/a.mp4", labels[0]),
        ("massaging_persons_head/b.mp4", labels[1]),
        ("other/c.mp4", labels[2]),
    }
    (tmp_path / "k.csv").write_text("label,youtube_id\npetting animal (not cat),v1\nmassaging person's head,v2\n")
    beside = load_annotations([tmp_path / "k.csv", root])
    assert beside.labels == sorted(labels)


def test_the_hash_of_class_folders_tells_which_videos_there_are(tmp_path: Path):
    root = tree(tmp_path / "mine", "run/a.mp4")
    before = load_annotations([root]).hashes
    assert load_annotations([root]).hashes == before
    tree(root, "run/b.mp4")
    assert load_annotations([root]).changed_since(before)


def test_clips_without_a_split_are_shared_out_by_video_for_good(tmp_path: Path):
    root = tree(
        tmp_path, *(f"run/v{number}_{start:06d}_{start + 10:06d}.mp4" for number in range(400) for start in (0, 50))
    )
    first = load_annotations([root], split_by=(0.8, 0.1, 0.1)).table
    counts = Counter(first["split"])
    assert 0.75 < counts["train"] / 800 < 0.85
    assert counts["val"]
    assert counts["test"]
    by_video = (
        first.assign(video=first["path"].str.extract(r"(v\d+)_", expand=False)).groupby("video")["split"].nunique()
    )
    assert set(by_video) == {1}
    tree(root, "walk/new.mp4")
    again = load_annotations([root], split_by=(0.8, 0.1, 0.1)).table
    assert (
        dict(zip(first["path"], first["split"], strict=True)).items()
        <= dict(zip(again["path"], again["split"], strict=True)).items()
    )


def test_a_split_that_is_given_is_kept(tmp_path: Path):
    (tmp_path / "list.csv").write_text(
        "video_id,label,split\na,run,test\n" + "".join(f"v{n},run,\n" for n in range(50))
    )
    table = load_annotations([tmp_path / "list.csv"], split_by=(0.5, 0.5)).table
    assert table["split"].iloc[0] == "test"
    assert set(table["split"].iloc[1:]) == {"train", "val"}
    (tmp_path / "val.csv").write_text("video_id,label\na,run\n")
    with pytest.raises(UserError, match="every clip has a split already"):
        load_annotations([tmp_path / "val.csv"], split_by=(0.5, 0.5))


@pytest.mark.parametrize(
    "text", ["", "1", "0.9", "0.9,0.2", "0,1", "a,b", "0.25,0.25,0.25,0.25", "nan,0.5", "1.1,-0.1"]
)
def test_shares_that_are_none_are_named(text):
    with pytest.raises(UserError, match=r"--split-by is .*; allowed: shares of train,val"):
        parse_shares(text)


def test_two_shares_are_train_and_val():
    assert parse_shares("0.9, 0.1") == (0.9, 0.1)
    assert {split_of(f"v{n}", (0.9, 0.1)) for n in range(200)} == {"train", "val"}


def test_so_many_clips_of_each_class_are_planned_and_more_add_to_fewer(tmp_path: Path):
    (tmp_path / "a.csv").write_text("".join(f"v{n},{'run' if n % 3 else 'walk'}\n" for n in range(60)))
    asked = load_annotations([tmp_path / "a.csv"]).table

    def planned(**settings: int) -> list[str]:
        plan = make_plan(
            asked, outcomes={}, settings=PlanSettings(**settings), held_locally=lambda _: (), next_shard={}
        )
        return plan.clip_ids()

    few, more = planned(per_class=2), planned(per_class=5)
    assert Counter(asked.set_index("clip_id").loc[few, "label"]) == {"run": 2, "walk": 2}
    assert set(few) < set(more)
    assert len(planned(per_class=5, limit=3)) == 3
    assert len(planned(per_class=1000)) == 60
