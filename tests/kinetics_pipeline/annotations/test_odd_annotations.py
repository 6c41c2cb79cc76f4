"""Annotation files as people have them, beyond separators: each is read right, or refused with one clear line."""

from pathlib import Path

import pytest

from kinetics_pipeline.annotations.table import clips_of, load_annotations
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip

HEADER = "label,youtube_id,time_start,time_end\n"
CLIP = Clip("0wR5jVB-WPk_000001_000011", "0wR5jVB-WPk", 1, 11, "run", "train")


@pytest.fixture
def read(tmp_path: Path):
    def reading(text: str, name: str = "x.csv", on_bad_row: str = "fail") -> list[Clip]:
        (tmp_path / name).write_bytes(text.encode())
        return list(clips_of(load_annotations([tmp_path / name], on_bad_row=on_bad_row).table))

    return reading


@pytest.mark.parametrize(
    "text",
    [
        f"\n\n{HEADER}run,0wR5jVB-WPk,1,11\n",
        f"\ufeff\ufeff{HEADER}run,0wR5jVB-WPk,1,11\n",
        "\nsep=;\nlabel;youtube_id;time_start;time_end\nrun;0wR5jVB-WPk;1;11\n",
        f"# my list, of 2020\n{HEADER}# a note, here\nrun,0wR5jVB-WPk,1,11\n",
        '# my list\n# youtube_id, label, start_seconds, end_seconds\n0wR5jVB-WPk, "run", 1.000, 11.000\n',
        f"{HEADER}run,0wR5jVB-WPk,1,11\n{HEADER}",
        "className,youtubeId,startTime,endTime\nrun,0wR5jVB-WPk,1,11\n",
        f"{HEADER}run,0wR5jVB-WPk,00:00:01,0:11.0\n",
        "0wR5jVB-WPk,run,0:01,0:11\n",
        f"{HEADER}\u200brun\u00a0,\u200b0wR5jVB-WPk\u00a0,1\u00a0,11\n",
        f'{HEADER}run,"=""0wR5jVB-WPk""",1,11\n',
    ],
    ids=["blank", "marks", "sep", "notes", "AudioSet", "joined", "camel", "clock", "no header", "unseen", "Excel"],
)
def test_what_surrounds_a_table_does_not_change_it(read, text):
    assert read(text) == [CLIP]


def test_the_times_and_labels_of_other_datasets_are_read(read):
    epic = "video_id,start_timestamp,stop_timestamp,start_frame\n0wR5jVB-WPk,00:00:01.00,00:00:11.00,60\n"
    (clip,) = read(epic)
    assert (clip.time_start, clip.time_end) == (1, 11)
    thumos = read("video_validation_0000266  72.80  76.40\nvideo_validation_0000266  87.90  91.90\n", "x.txt")
    assert [(clip.time_start, clip.time_end, clip.label) for clip in thumos] == [(72.8, 76.4, None), (87.9, 91.9, None)]
    assert read('[{"id": "a", "labels": "run"}]', "x.json")[0].label == "run"
    with pytest.raises(UserError, match="not one text"):
        read('[{"id": "a", "labels": ["run", "jump"]}]', "x.json")


def test_a_list_of_paths_alone_may_have_blanks_in_them(read):
    paths = ["abseiling/a_000003_000013.mp4", "air drumming/b_000012_000022.mp4"]
    assert [clip.path for clip in read("\n".join(paths) + "\n", "train.txt")] == paths


@pytest.mark.parametrize(
    "address",
    [
        "https://www.youtube.com/watch?v=0wR5jVB-WPk&t=5s",
        "https://youtu.be/0wR5jVB-WPk?si=x",
        "youtube.com/watch?feature=share&v=0wR5jVB-WPk",
        "https://m.youtube.com/shorts/0wR5jVB-WPk",
    ],
)
def test_an_address_of_youtube_names_its_video(read, address):
    assert read(f"label,url,time_start,time_end\nrun,{address},1,11\n") == [CLIP]
    assert read(f"{address},run,1,11\n") == [CLIP]
    assert read(f"{HEADER}run,{address},1,11\n") == [CLIP]
    with pytest.raises(UserError, match=r"vimeo\.com/123'; allowed"):
        read("label,url\nrun,https://vimeo.com/123\n")


@pytest.mark.parametrize("column", ["start_ms", "startFrame", "clip_start", "begin_frame"])
def test_a_time_in_another_unit_is_named_and_never_a_whole_video_in_its_place(read, column):
    with pytest.raises(UserError, match="allowed: time_start and time_end, in seconds"):
        read(f"label,youtube_id,{column}\nrun,0wR5jVB-WPk,1000\n")
    with pytest.raises(UserError, match="allowed: time_start and time_end, in seconds"):
        read(f'[{{"youtube_id": "0wR5jVB-WPk", "label": "run", "{column}": 1000}}]', "x.json")


def test_json_has_an_object_a_line_or_keys_in_capitals_whatever_its_suffix(read):
    line = '{"videoId": "0wR5jVB-WPk", "label": "run", "startTime": 1, "endTime": 11}'
    for name in ("x.json", "x.txt", "x.jsonl"):
        assert read(f"{line}\n{line.replace('0w', '1w')}\n", name)[0] == CLIP
    assert read(f"[{line}]", "x.json") == [CLIP]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!DOCTYPE html><html><body>Not found, sorry</body></html>\n", "is a web page"),
        ("PK\x03\x04\x14\x00\x06\x00", "an Excel workbook"),
        (f'{HEADER}run,0wR5jVB-WPk,"1,5","11,5"\n', "'1,5', not a number of seconds"),
        (f"{HEADER}run,0wR5jVB-WPk,1:02:99,2:00\n", "'1:02:99', not a number of seconds"),
    ],
)
def test_what_is_no_table_of_clips_is_refused_with_the_reason(read, text, said):
    with pytest.raises(UserError) as error:
        read(text)
    assert any(said in line for line in error.value.args)
