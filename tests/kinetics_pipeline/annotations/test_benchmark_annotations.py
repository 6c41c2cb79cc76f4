"""UCF-101, HMDB-51 and Charades from their files as distributed."""

import io
import zipfile

import numpy as np
import pytest

from kinetics_pipeline.annotations.charades import Action, parse_actions, targets
from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.plan import Plan, PlanSettings, make_plan

UCF = {
    "classInd.txt": "1 ApplyEyeMakeup\r\n2 Archery\r\n",
    "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nArchery/v_Archery_g08_c01.avi 2\r\n",
    "testlist01.txt": "Archery/v_Archery_g01_c01.avi\r\n",
    "trainlist02.txt": "Archery/v_Archery_g01_c01.avi 2\r\n",
    "testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\r\nArchery/v_Archery_g08_c01.avi\r\n",
}
HMDB = {
    "brush_hair_test_split1.txt": "April_09_brush_hair_ba_goo_0.avi 1 \nodd name #2_ba.avi 2 \nunused.avi 0 \n",
    "brush_hair_test_split2.txt": "April_09_brush_hair_ba_goo_0.avi 2 \nodd name #2_ba.avi 0 \nunused.avi 0 \n",
    "wave_test_split1.txt": "hello.avi 1 \n",
}
CHARADES = (
    "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking.",food;stove,x,c092 11.90 21.20;c147 0.00 12.60,24.83\n'
    "N11GT,0KZ7,Stairs,6,7,Yes,Nothing happens.,x,x,,18.33\n"
)


def written(folder, files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def zipped(path, files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"ucfTrainTestlist/{name}", text)
    path.write_bytes(data.getvalue())
    return path


@pytest.mark.parametrize("form", ["folder", "zip", "files"])
def test_ucf_s_clips_know_the_lists_they_are_on(tmp_path, form):
    folder = written(tmp_path / "ucfTrainTestlist", UCF)
    given = {
        "folder": [folder],
        "zip": [zipped(tmp_path / "UCF101TrainTestSplits-RecognitionTask.zip", UCF)],
        "files": sorted(folder.iterdir()),
    }[form]
    found = load_annotations(given)
    assert found.labels == ["ApplyEyeMakeup", "Archery"]
    rows = {row.path: (row.label, row.split, row.lists) for row in found.table.itertuples()}
    assert rows == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": ("ApplyEyeMakeup", "all", "train1 test2"),
        "Archery/v_Archery_g08_c01.avi": ("Archery", "all", "train1 test2"),
        "Archery/v_Archery_g01_c01.avi": ("Archery", "all", "test1 train2"),
    }
    assert found.table["time_start"].isna().all()


def test_hmdb_s_clips_know_their_class_from_the_file_s_name_and_unused_ones_are_left_out(tmp_path):
    found = load_annotations([written(tmp_path / "testTrainMulti_7030_splits", HMDB)])
    rows = {row.path: (row.label, row.lists) for row in found.table.itertuples()}
    assert rows == {
        "brush_hair/April_09_brush_hair_ba_goo_0.avi": ("brush_hair", "train1 test2"),
        "brush_hair/odd name #2_ba.avi": ("brush_hair", "test1"),
        "wave/hello.avi": ("wave", "train1"),
    }


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("trainlist01.txt", "Archery/v_Archery_g08_c01.avi 1\n", "number '1', in classInd.txt 2"),
        ("testlist01.txt", "Archery/v_Archery_g08_c01.avi\n", "on test1 already"),
        ("trainlist03.txt", "v_Archery_g08_c01.avi 2\n", "CLASS/NAME.avi"),
        ("trainlist03.txt", "../../etc/passwd.avi\n", "leaves the source's folder"),
        ("wave_test_split1.txt", "hello.avi 3\n", "0, 1 (train) or 2 (test)"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_its_line(tmp_path, name, text, named):
    folder = written(tmp_path / "lists", UCF | {name: text})
    with pytest.raises(UserError) as caught:
        load_annotations([folder])
    assert named in str(caught.value)


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(UserError, match="without UCF-101's"):
        load_annotations([tmp_path])


def test_charades_videos_have_actions_and_no_single_label(tmp_path):
    (tmp_path / "Charades_v1_train.csv").write_text(CHARADES)
    (tmp_path / "Charades_v1_test.csv").write_text(CHARADES.replace("46GP8", "AAAAA").replace("N11GT", "BBBBB"))
    found = load_annotations([tmp_path / "Charades_v1_train.csv", tmp_path / "Charades_v1_test.csv"])
    assert found.labels == ["c092", "c147"]
    first = found.table.iloc[0]
    assert (first.clip_id, first.split, first.label) == ("46GP8", "train", None)
    assert parse_actions(first.actions) == (Action("c092", 11.9, 21.2), Action("c147", 0.0, 12.6))
    assert set(found.table["split"]) == {"train", "test"}


@pytest.mark.parametrize("actions", ["c092 11.90", "c092 5 3", "c092 a b", "c092 nan 3", "c0/92 1 2"])
def test_actions_that_are_none_are_bad_rows(tmp_path, actions):
    (tmp_path / "c.csv").write_text(f"id,actions,length\nAAAAA,{actions},3\n")
    with pytest.raises(UserError, match=r"c\.csv:2: action"):
        load_annotations([tmp_path / "c.csv"])


def test_targets_are_one_where_a_frame_s_time_lies_in_an_action_s():
    found = targets((Action("b", 0.5, 1.0), Action("a", 0, 0.1), Action("b", 1.5, 9)), ["a", "b"], 10, 5)
    assert found.shape == (2, 10)
    for frame in range(10):
        time = frame / 5
        assert found[0, frame] == (time <= 0.1)
        assert found[1, frame] == (0.5 <= time <= 1.0 or time >= 1.5)
    with pytest.raises(ValueError, match="'c' is none"):
        targets((Action("c", 0, 1),), ["a", "b"], 10, 5)
    assert targets((), ["a"], 3, 25).sum() == 0
    assert np.array_equal(targets((Action("a", 0, 99),), ["a"], 3, 25), np.ones((1, 3)))


@pytest.mark.parametrize(("files", "column"), [(UCF, "lists"), ({"Charades_v1_train.csv": CHARADES}, "actions")])
def test_a_plan_keeps_what_the_loader_joins(tmp_path, files, column):
    folder = written(tmp_path / "lists", files)
    given = [folder] if column == "lists" else sorted(folder.iterdir())
    table = load_annotations(given).table
    plan = make_plan(table, outcomes={}, settings=PlanSettings(), held_locally=lambda c: (), next_shard={})
    again = Plan.from_parquet_bytes(plan.to_parquet_bytes())
    expected = dict(zip(table["clip_id"], table[column], strict=True))
    assert dict(zip(again.clip_ids(), again.table[column].to_pylist(), strict=True)) == expected
