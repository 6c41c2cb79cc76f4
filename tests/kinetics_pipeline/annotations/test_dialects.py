"""Annotation files as spreadsheets, training programs and public copies write them."""

import gzip
import json
from pathlib import Path

import pytest

from kinetics_pipeline.annotations import collected
from kinetics_pipeline.annotations import files as annotation_files
from kinetics_pipeline.annotations.table import Annotations, clips_of, load_annotations
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip


@pytest.fixture
def read(tmp_path: Path):
    def reading(data: str | bytes, name: str = "train.csv", **options) -> Annotations:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return load_annotations([path], on_bad_row="skip", **options)

    return reading


def clips(annotations: Annotations) -> list[Clip]:
    assert [str(bad) for bad in annotations.bad_rows] == []
    return list(clips_of(annotations.table))


ROWS = [["label", "youtube_id", "time_start", "time_end", "split"], ["dog, big", "abc", "1.5", "12", "val"]]
CLIP = Clip("abc_000001.500_000012", "abc", 1.5, 12, "dog, big", "val")


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("decimal", [".", ","])
def test_every_separator_is_read_with_and_without_a_header(read, separator, declared, header, decimal):
    rows = [*ROWS, ["dog, big", "0wR5jVB-WPk", "3", "4", "val"]][0 if header else 1 :]
    text = "".join(separator.join(row).replace("1.5", f"1{decimal}5") + "\r\n" for row in rows)
    found = clips(read((f"sep={separator}\r\n" if declared else "") + text, "x.txt"))
    assert found[0] == CLIP
    assert found[1].video_id == "0wR5jVB-WPk"


def test_excels_line_with_a_comma_and_quotes_is_passed_over(read):
    assert clips(read('"sep=,"\nvideo_id,label\nabc,run\n'))[0].label == "run"
    assert read("sep=;\nvideo_id;label\nabc\nd;run\n").bad_rows[0].line == 3


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("video.mp4;run", Clip("video", "video", None, None, "run", "train", "video.mp4")),
        ("x/a;b.mp4,run", Clip("a_b", "a_b", None, None, "run", "train", "x/a;b.mp4")),
        ("my clip.lrv\trun fast", Clip("my_clip", "my_clip", None, None, "run fast", "train", "my clip.lrv")),
        ("a.mp4 run fast", Clip("a", "a", None, None, "run fast", "train", "a.mp4")),
        ("my clip.mp4 run fast", Clip("my_clip", "my_clip", None, None, "run fast", "train", "my clip.mp4")),
        ("x/a b/c.avi 12", Clip("c", "c", None, None, "12", "train", "x/a b/c.avi")),
        ("-3B32lodo2M 0", Clip("-3B32lodo2M", "-3B32lodo2M", None, None, "0", "train")),
        ("some/directory-1 163 5", Clip("directory-1", "directory-1", None, None, "5", "train", "some/directory-1")),
        ("a.mp4 -1", Clip("a", "a", None, None, None, "train", "a.mp4")),
        (
            "--ISsGfWsqI 67 77.5 pull ups",
            Clip("--ISsGfWsqI_000067_000077.500", "--ISsGfWsqI", 67, 77.5, "pull ups", "train"),
        ),
    ],
)
def test_a_list_without_a_header_says_itself_what_separates_its_cells(read, row, expected):
    assert clips(read(row + "\n", "list.txt")) == [expected]


def test_a_header_with_blanks_names_columns(read):
    assert clips(read("path label\nx/a.mp4 run\n")) == [Clip("a", "a", None, None, "run", "train", "x/a.mp4")]


def test_the_rows_of_a_whole_list_decide_what_two_numbers_mean(read):
    frames = clips(read("k/a 250 3\nk/b c 10 0\n", "rawframes.txt"))
    assert [(clip.path, clip.label) for clip in frames] == [("k/a", "3"), ("k/b c", "0")]
    videos = clips(read("k/a 250 3\nk/b 7\n", "videos.txt"))
    assert [(clip.path, clip.label) for clip in videos] == [("k/a 250", "3"), ("k/b", "7")]


def test_class_numbers_of_a_list_stay_the_numbers_of_the_classes(read):
    rows = "".join(f"k/{number}.mp4 {number}\n" for number in (0, 2, 10, 11))
    annotations = read(rows, "mmaction2_val_videos.txt")
    assert annotations.labels == [str(number) for number in range(12)]
    assert set(annotations.table["split"]) == {"val"}
    named = read(rows, "mmaction2_val_videos.txt", labels=[f"class {n}" for n in range(12)])
    assert named.table["label"].tolist() == ["class 0", "class 2", "class 10", "class 11"]
    (bad,) = read(rows, "slowfast_val.csv", labels=[f"class {n}" for n in range(11)]).bad_rows
    assert (bad.line, "no class number from 0 to 10" in bad.reason) == (4, True)


@pytest.mark.parametrize("rows", ["k/a.mp4 1\nk/b.mp4 1 3 5\n", "k/a 163 1\nk/b 163 1 3 5\n"])
def test_several_class_numbers_of_a_video_are_named(read, rows):
    annotations = read(rows, "list.txt")
    assert [(bad.line, "class numbers" in bad.reason) for bad in annotations.bad_rows] == [(2, True)]
    assert annotations.table["label"].tolist() == ["1"]


def test_class_numbers_between_tabs_stay_the_numbers_of_the_classes(read):
    assert read("x/a.mp4\t3\nx/b.mp4\t10\n", "list.txt").labels == [str(number) for number in range(11)]


def test_a_picture_is_no_video(read):
    annotations = read("path label\nk/a.mp4 run\nk/img_00001.jpg run\n")
    assert [(bad.line, "not a video" in bad.reason) for bad in annotations.bad_rows] == [(3, True)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_text_with_a_mark_is_read_in_its_encoding(read, encoding):
    rows = "".join(f"{','.join(row)}\r\n" for row in [ROWS[0], ["caf\u00e9 \U0001f600", *ROWS[1][1:]]])
    assert clips(read(rows.encode(encoding)))[0].label == "caf\u00e9 \U0001f600"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_every_way(read, end):
    found = clips(read(end.join(["video_id,label", "a,run", '"b","x"', "c,run"])))
    assert [clip.video_id for clip in found] == ["a", "b", "c"]


def test_names_in_two_unicode_forms_are_one(read):
    annotations = read("path,label\nx/\u00e9.mp4,run\nx/e\u0301.mp4,run\n")
    assert [bad.reason for bad in annotations.bad_rows] == ["the same as line 2"]
    annotations = read("path,label\nx/a.mp4,\u00e9\nx/b.mp4,e\u0301\n", labels=["e\u0301"])
    assert annotations.table["label"].tolist() == ["e\u0301", "e\u0301"]
    assert annotations.bad_rows == []


def test_a_text_file_may_hold_json_and_a_line_each_one_object(read):
    entry = {"annotations": {"label": "run", "segment": [1, 2]}, "subset": "val"}
    expected = [Clip("abc_000001_000002", "abc", 1, 2, "run", "val")]
    assert clips(read("\n" + json.dumps({"abc": entry}), "val.txt")) == expected
    line = json.dumps({"youtube_id": "abc", "label": "run", "time_start": 1, "time_end": 2, "split": "val"})
    assert clips(read(line + "\n\n", "x.jsonl")) == expected
    annotations = read(f"{line}\n{{\n", "x.jsonl")
    assert [(bad.line, "not JSON" in bad.reason) for bad in annotations.bad_rows] == [(2, True)]


def test_a_long_json_is_read_entry_by_entry(read):
    entries = {f"v{n}": {"annotations": {"label": "x" * 50, "segment": [n, n + 1]}} for n in range(5000)}
    assert len(clips(read(json.dumps(entries), "a.json"))) == 5000
    database = {"version": "1.3", "database": entries, "taxonomy": [{"id": 1}]}
    assert len(clips(read(json.dumps(database, indent=1), "b.json"))) == 5000
    with pytest.raises(UserError, match="not JSON"):
        read(json.dumps(entries)[:-2] + ", }}", "c.json")


def test_a_quote_that_is_never_closed_costs_one_row_of_a_long_file(read):
    rows = "".join(f"v{n},run\n" for n in range(3000))
    annotations = read(f'video_id,label\n"open,run\n{rows}')
    assert [bad.line for bad in annotations.bad_rows] == [2]
    assert len(annotations.table) == 3000


@pytest.mark.parametrize(
    ("limit", "data", "message"),
    [
        ((annotation_files, "MAX_LINES"), "a,b\n" + "\n" * 200_000, "more than 1,000 lines"),
        ((annotation_files, "MAX_LINE"), "a" * 200_000, "a line of more than 1,000 characters"),
        ((collected, "MAX_ROWS"), "a,run\n" * 2000, "more than 1,000 rows"),
        ((collected, "MAX_ROWS"), 'a,"b"c\n' * 2000, "more than 1,000 rows are bad"),
    ],
)
def test_what_a_small_file_unpacks_to_is_bounded(read, monkeypatch, limit, data, message):
    monkeypatch.setattr(*limit, 1000)
    with pytest.raises(UserError, match=message):
        read(gzip.compress(data.encode()), "bomb.csv.gz")


def test_of_very_many_bad_rows_the_first_are_told_and_all_are_counted(read):
    annotations = read("video_id,label,time_start,time_end\ngood,run,1,2\n" + "bad,run,2,1\n" * 12_000)
    assert annotations.bad_count == 12_000
    assert [bad.line for bad in annotations.bad_rows] == list(range(3, 10_003))
