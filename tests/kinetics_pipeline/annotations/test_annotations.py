"""What a row means, and which rows are bad."""

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics_pipeline.annotations.table import Annotations, clips_of, load_annotations, read_annotations, read_labels
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import SPLIT, VIDEO_ID, Clip

HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str, name: str = "train.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return written


def clips(path: Path, **options) -> list[Clip]:
    return list(clips_of(read_annotations(path, **options)))


def skipped(path: Path, **options) -> Annotations:
    return load_annotations([path], on_bad_row="skip", **options)


def test_the_published_csv_is_read_with_quotes_bom_crlf_and_is_cc(write):
    path = write(
        "\ufefflabel,youtube_id,time_start,time_end,split,is_cc\r\n"
        '"petting animal (not cat), really",-0Q2MBkyNHI,417,427,validate,0\r\n'
        "\r\n"
        "archery,0wR5jVB-WPk,1.5,3,test,1\r\n"
    )
    assert clips(path) == [
        Clip("-0Q2MBkyNHI_000417_000427", "-0Q2MBkyNHI", 417, 427, "petting animal (not cat), really", "val"),
        Clip("0wR5jVB-WPk_000001.500_000003", "0wR5jVB-WPk", 1.5, 3, "archery", "test"),
    ]


def test_columns_may_come_in_any_order_and_case(write):
    path = write("SPLIT, Time_End ,Video_ID,extra,LABEL,time_start\nTrain,12,abc,x,run,2\n")
    assert clips(path) == [Clip("abc_000002_000012", "abc", 2, 12, "run", "train")]


def test_a_test_file_without_labels_has_labels_none(write):
    path = write("youtube_id,time_start,time_end,split\nabc,2,12,test\n")
    (clip,) = clips(path)
    assert (clip.label, clip.split) == (None, "test")


def test_a_table_has_no_path_column_unless_rows_name_files(write):
    expected = ["clip_id", "video_id", "time_start", "time_end", "label", "split"]
    assert list(read_annotations(write(HEADER + "run,abc,2,12,train\n"))) == expected
    assert list(read_annotations(write("a/b.mp4,run\n", "files.csv"))) == [*expected, "path"]


def test_the_published_json_is_read_with_fields_missing(write):
    whole = {
        "annotations": {"label": "testifying", "segment": [84.0, 94.0]},
        "duration": 10.0,
        "subset": "validate",
        "url": "https://www.youtube.com/watch?v=---QUuC4vJs",
    }
    document = {
        "---QUuC4vJs": whole,
        "abcdefghij1": {"annotations": {"segment": [1, 11]}, "subset": "test"},
        "abcdefghij2": {"subset": "test"},
        "abcdefghij3": {"annotations": {"label": "run", "segment": ["3", "4.5"]}},
    }
    assert clips(write(json.dumps(document), "kinetics700_train.json")) == [
        Clip("---QUuC4vJs_000084_000094", "---QUuC4vJs", 84, 94, "testifying", "val"),
        Clip("abcdefghij1_000001_000011", "abcdefghij1", 1, 11, None, "test"),
        Clip("abcdefghij2", "abcdefghij2", None, None, None, "test"),
        Clip("abcdefghij3_000003_000004.500", "abcdefghij3", 3, 4.5, "run", "train"),
    ]


def test_a_json_list_of_objects_is_read(write):
    items = [{"youtube_id": "abc", "label": "run", "time_start": 1, "time_end": 2, "split": "val"}]
    assert clips(write(json.dumps(items), "list.json")) == [Clip("abc_000001_000002", "abc", 1, 2, "run", "val")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("abc,run", Clip("abc", "abc", None, None, "run", "val")),
        ("abc,run,test", Clip("abc", "abc", None, None, "run", "test")),
        ("abc,run,1,2", Clip("abc_000001_000002", "abc", 1, 2, "run", "val")),
        ("abc,run,1,2,train", Clip("abc_000001_000002", "abc", 1, 2, "run", "train")),
        ("abc,7,1,2,train", Clip("abc_000001_000002", "abc", 1, 2, "7", "train")),
        ("abc,1,2,test", Clip("abc_000001_000002", "abc", 1, 2, None, "test")),
        ("abc", Clip("abc", "abc", None, None, None, "val")),
        ("run,0wR5jVB-WPk,1,2,train,0", Clip("0wR5jVB-WPk_000001_000002", "0wR5jVB-WPk", 1, 2, "run", "train")),
        ("v_01,handwriting,1,2", Clip("v_01_000001_000002", "v_01", 1, 2, "handwriting", "val")),
        ("c/my clip.avi,run", Clip("my_clip", "my_clip", None, None, "run", "val", "c/my clip.avi")),
    ],
)
def test_a_plain_list_is_read_without_a_header(write, row, expected):
    assert clips(write(row + "\n", "my_val.csv")) == [expected]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("kinetics-400_val.csv", "val"),
        ("validate.csv", "val"),
        ("testlist01.txt", "test"),
        ("train.csv", "train"),
        ("training_set.csv", "train"),
        ("evaluation.csv", "train"),
        ("contest.csv", "train"),
    ],
)
def test_a_file_without_splits_takes_that_of_its_name_else_train(write, name, split):
    assert clips(write("abc,run\n", name))[0].split == split


def test_a_users_split_is_kept_and_validation_is_val(write):
    path = write(HEADER + "a,x,0,1,Validation\na,y,0,1,fold_3\na,z,0,1,testing\n")
    assert [clip.split for clip in clips(path)] == ["val", "fold_3", "test"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("run,,1,2,train", "no video id"),
        ("run,..,1,2,train", "video id '..'"),
        ("run,.,1,2,train", "video id '.'"),
        ("run,../../etc/passwd,1,2,train", "video id '../../etc/passwd'"),
        ("run,a b,1,2,train", "video id 'a b'"),
        (f"run,{'x' * 129},1,2,train", "video id"),
        ("run,ab\x1b[2Jc,1,2,train", r"video id 'ab\x1b[2Jc'"),
        ("run,abc,2,2,train", "time_end '2' is not after time_start '2'"),
        ("run,abc,1.0001,1.0002,train", "is not after"),
        ("run,abc,-1,2,train", "time_start is '-1'"),
        ("run,abc,ten,12,train", "time_start is 'ten', not a number"),
        ("run,abc,1_0,12,train", "not a number"),
        ("run,abc,nan,12,train", "time_start is 'nan', not a finite number"),
        ("run,abc,1,inf,train", "time_end is 'inf', not a finite number"),
        ("run,abc,1,1e300,train", "time_end is '1e300'"),
        ("run,abc,1,,train", "time_start '1' without time_end"),
        ("run,abc,,2,train", "time_end '2' without time_start"),
        ("run,abc,,,train", "no time_start and time_end"),
        ("run,abc,1,2,my split", "split 'my split'"),
        ("run,abc,1,2,../x", "split '../x'"),
        ("run,abc,1,2", "4 cells where the header has 5"),
        ("run, or not,abc,1,2,train", "6 cells where the header has 5"),
        ('"run,abc,1,2,train', "not a CSV row"),
        ('"ru\nn",abc,1,2,train', "control characters"),
        ("run,good,3,4,train", "the same as line 2"),
        ("run,good,3.0,4.0,train", "the same as line 2"),
        ("walk,good,3,4,train", "label 'walk', but 'run' for the same in line 2"),
        ("run,good,3,4,val", "split val, but train for the same in line 2"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_costs_no_other_row(write, row, reason):
    path = write(HEADER + "run,good,3,4,train\n\n" + row + "\nrun,last,3,4,train\n")
    annotations = skipped(path)
    (bad,) = annotations.bad_rows
    assert (bad.file, bad.line) == ("train.csv", 4)
    assert reason in bad.reason
    assert list(annotations.table["video_id"]) == ["good", "last"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"annotations": {"label": "run", "segment": [5, 5]}}, "is not after"),
        ({"annotations": {"label": "run", "segment": [5]}}, "segment is [5]"),
        ({"annotations": {"label": "run", "segment": "0-5"}}, "segment is '0-5'"),
        ({"annotations": {"label": "run", "segment": [math.nan, 5]}}, "not a finite number"),
        ({"annotations": {"label": "run", "segment": [True, 5]}}, "not a number"),
        ({"annotations": {"label": "run", "segment": [[1], 5]}}, "not a number"),
        ({"annotations": {"label": "run", "segment": [1, 10**400]}}, "not a number"),
        ({"annotations": {"label": ["run"], "segment": [1, 5]}}, "label is ['run']"),
        ({"annotations": "none"}, "annotations are not an object"),
        (7, "not an object"),
    ],
)
def test_a_bad_entry_of_a_json_is_told_with_its_key(write, item, reason):
    good = {"annotations": {"label": "run", "segment": [1, 5]}}
    annotations = skipped(write(json.dumps({"good": good, "bad-one": item}), "train.json"))
    (bad,) = annotations.bad_rows
    assert (bad.file, bad.line) == ("train.json", "bad-one")
    assert reason in bad.reason
    assert list(annotations.table["video_id"]) == ["good"]


def test_activitynets_json_is_read_and_what_holds_no_clip_is_bad(write):
    entry = {"annotations": [{"label": "run", "segment": [1, 2]}], "subset": "training"}
    table = read_annotations(write(json.dumps({"version": "1.3", "database": {"abc": entry}}), "net.json"))
    assert table["clip_id"].tolist() == ["abc_000001_000002"]
    assert table["split"].tolist() == ["train"]
    with pytest.raises(UserError, match=r"odd\.json:x: no annotations, label or split in \{'dependencies': 'none'\}"):
        read_annotations(write(json.dumps({"x": {"dependencies": "none"}}), "odd.json"))


def test_a_json_key_given_twice_loses_no_row(write):
    entry = '{"annotations": {"label": "run", "segment": [%d, 9]}}'
    path = write(f'{{"abc": {entry % 1}, "abc": {entry % 2}, "abc": {entry % 2}}}', "train.json")
    annotations = skipped(path)
    assert list(annotations.table["time_start"]) == [1, 2]
    assert [bad.line for bad in annotations.bad_rows] == ["abc"]


def test_a_label_outside_the_list_is_bad_and_the_list_gives_the_numbers(write):
    path = write(HEADER + "run,a,1,2,train\nswim,b,1,2,train\n")
    annotations = skipped(path, labels=["walk", "run"])
    assert annotations.labels == ["walk", "run"]
    assert [bad.line for bad in annotations.bad_rows] == [3]
    assert "'swim'" in annotations.bad_rows[0].reason


def test_without_a_list_the_labels_are_sorted(write):
    path = write(HEADER + "run,a,1,2,train\nArch,b,1,2,train\nape,c,1,2,val\n")
    assert load_annotations([path]).labels == ["Arch", "ape", "run"]


def test_failing_shows_the_count_and_the_first_ten(write):
    path = write(HEADER + "run,good,3,4,train\n" + "".join(f"run,v{i},9,8,train\n" for i in range(12)))
    with pytest.raises(UserError) as error:
        read_annotations(path)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("12 of 13 rows are bad")
    assert lines[1].strip().startswith("train.csv:3: time_end '8' is not after time_start '9'")
    assert lines[10].strip().startswith("train.csv:12:")
    assert lines[11:] == ["  ... and 2 more"]


def test_bad_rows_alone_are_an_error_even_when_they_are_skipped(write):
    with pytest.raises(UserError, match="no usable row"):
        read_annotations(write(HEADER + "run,a,2,1,train\n"), on_bad_row="skip")


def test_an_unknown_word_for_bad_rows_is_refused(write):
    with pytest.raises(UserError, match="'ignore'; allowed: fail, skip"):
        read_annotations(write("abc,run\n"), on_bad_row="ignore")


def test_a_segment_in_two_files_is_reported_and_must_agree_in_its_label(write):
    first = write(HEADER + "run,a,1,2,train\nrun,b,1,2,train\n", "k400.csv")
    second = write(HEADER + "run,a,1,2,val\nwalk,b,1,2,train\nrun,c,1,2,val\n", "k600.csv")
    annotations = load_annotations([first, second], on_bad_row="skip")
    assert list(annotations.table["clip_id"]) == [f"{v}_000001_000002" for v in "abc"]
    assert list(annotations.table["split"]) == ["train", "train", "val"]
    (duplicate,) = annotations.duplicates
    assert (duplicate.file, duplicate.line, duplicate.first_file, duplicate.first_line) == (
        "k600.csv",
        2,
        "k400.csv",
        2,
    )
    assert (duplicate.split, duplicate.first_split) == ("val", "train")
    (bad,) = annotations.bad_rows
    assert (bad.file, bad.line) == ("k600.csv", 3)
    assert "'walk'" in bad.reason
    assert "k400.csv:3" in bad.reason


def test_a_file_with_labels_fills_in_one_without(write):
    unlabelled = write("youtube_id,time_start,time_end,split\na,1,2,test\n", "test.csv")
    labelled = write(HEADER + "run,a,1,2,test\n", "test_with_labels.csv")
    annotations = load_annotations([unlabelled, labelled])
    assert list(annotations.table["label"]) == ["run"]
    assert annotations.labels == ["run"]


def test_two_videos_never_share_a_clip_id(write):
    path = write("abc_000001_000002,run\nabc,run,1,2\n")
    (bad,) = skipped(path).bad_rows
    assert (bad.line, "already that of another video" in bad.reason) == (2, True)


@pytest.mark.parametrize(
    "path", ["/etc/passwd.mp4", "../a.mp4", "a/../../b.mp4", "a\\b.mp4", "https://host/a.mp4", "a/..", "./"]
)
def test_a_path_that_leaves_its_folder_is_bad(write, path):
    annotations = skipped(write(f"path,label\nok/good.mp4,run\n{path},run\n"))
    assert [bad.line for bad in annotations.bad_rows] == [3]
    assert list(annotations.table["path"]) == ["ok/good.mp4"]


def test_files_of_one_stem_get_ids_that_do_not_depend_on_the_order_of_rows(write):
    rows = ["x/a.mp4,run", "y/a.mp4,run", "z/b.mp4,run", "b,run", "x/...mp4,run", "./x//c.mp4,run"]
    forward = read_annotations(write("\n".join(rows), "one.csv"))
    backward = read_annotations(write("\n".join(reversed(rows)), "two.csv"))
    ids = dict(zip(forward["path"], forward["video_id"], strict=True))
    assert ids == dict(zip(backward["path"], backward["video_id"], strict=True))
    assert forward["video_id"].is_unique
    assert ids["x/c.mp4"] == "c"
    assert ids["x/a.mp4"].startswith("a-")


def test_a_clip_has_no_times_where_the_table_has_nan(write):
    table = read_annotations(write("abc,run\n"))
    assert table["time_start"].isna().all()
    assert table["time_start"].dtype == "float64"
    assert next(clips_of(table)).time_start is None


def test_a_labels_file_is_read_in_its_order_and_must_not_repeat(write):
    assert read_labels(write("\ufeffzumba\r\n\r\nair drumming \n", "labels.txt")) == ["zumba", "air drumming"]
    with pytest.raises(UserError, match="line 3 repeats 'a' of line 1"):
        read_labels(write("a\nb\na\n", "labels.txt"))
    with pytest.raises(UserError, match="no labels"):
        read_labels(write("\n", "labels.txt"))


cells = st.sampled_from(
    ["", "abc", "..", "a/b.mp4", "1", "2", "-1", "nan", "run", "val", '"', 'x"y', "\x00", "\u2028", "é"]
)
lines = st.lists(st.lists(cells, max_size=7).map(",".join), max_size=8).map("\n".join)
keys = st.sampled_from(["abc", "annotations", "segment", "label", "subset", "youtube_id", "path", "time_start", ""])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | cells
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4), max_leaves=12)


@given(
    lines.map(lambda t: ("x.csv", t))
    | lines.map(lambda t: ("y.csv", HEADER + t))
    | values.map(lambda v: ("z.json", json.dumps(v)))
)
@settings(deadline=None)
def test_whatever_a_file_holds_it_gives_sound_clips_or_one_kind_of_error(file):
    name, text = file
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            annotations = skipped(Path(folder) / name)
        except UserError:
            return
    assert annotations.table["clip_id"].is_unique
    for clip in clips_of(annotations.table):
        assert VIDEO_ID.fullmatch(clip.video_id)
        assert clip.video_id.strip(".")
        assert (clip.time_start is None) == (clip.time_end is None)
        assert clip.time_start is None or 0 <= clip.time_start < clip.time_end
        assert SPLIT.fullmatch(clip.split)
        assert clip.path is None or ".." not in clip.path.split("/")
    assert all(str(bad).isprintable() for bad in annotations.bad_rows)
