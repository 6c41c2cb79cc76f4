"""Rows that are read many at once are those that are read one by one."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinetics_pipeline.annotations import plain_blocks, text_tables
from kinetics_pipeline.annotations.collected import Collected
from kinetics_pipeline.annotations.files import open_annotations
from kinetics_pipeline.annotations.gathered import FEW_VALUES
from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.errors import UserError

HEADERS = [
    "label,youtube_id,time_start,time_end,split",
    "youtube_id,time_start,time_end,split,label",
    "video_id,label,start,end",
    "video,label",
    "label,youtube_id,path,time_start,time_end,split",
    "id,label,time_start,time_end,",
    "label;youtube_id;time_start;time_end;split",
    "label\tyoutube_id\ttime_start\ttime_end\tsplit",
]
ODD_CELLS = [
    "",
    " ",
    "\u00a0run\u200b",
    "\u200b",
    '"dog, big"',
    '"a ""b"""',
    '"open',
    'a"b',
    '"two\nlines"',
    '""',
    '"a"b"',
    ' "run"',
    '"run" ',
    "# no",
    "\x00",
    "..",
    "youtube-Id",
    "_video",
    "nan",
    "-1",
    "1e999",
    "run\u2028",
    "\x1c3",
]
ODD_CELLS += [
    "https://youtu.be/0wR5jVB-WPk",
    "a/b.mp4",
    "clip.mp4",
    "a.b",
    "x" * 129,
    "1,5",
    "0:10",
    "e\u0301",
    " run ",
]
PLAIN = {"time_start": "1", "start": "1", "time_end": "11.5", "end": "11.5", "split": "val", "path": "", "": ""}
ODD_LINES = [
    "",
    "   ",
    "# a note",
    "#note",
    ",,,,",
    "run",
    "run,0wR5jVB-WPk,1,11,val,,",
    'run,"0wR5jVB-WPk,1,11',
    "\ufeff",
]


@st.composite
def texts(draw) -> str:
    """A table most of whose rows are plain."""
    header = draw(st.sampled_from(HEADERS))
    separator = next((one for one in ";\t" if one in header), ",")
    lines = [*draw(st.lists(st.sampled_from(["", "# a note", "\ufeff"]), max_size=2)), header]
    for number in range(draw(st.integers(1, 16))):
        kind = draw(st.integers(0, 7))
        if kind == 0:
            lines.append(draw(st.sampled_from([*ODD_LINES, header, header.upper()])))
            continue
        cells = [PLAIN.get(name, f"{name[:1]}{number % 5}") for name in header.split(separator)]
        if kind == 1:
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(ODD_CELLS))
        if kind == 2:
            cells[draw(st.integers(0, len(cells) - 1))] = f'"{cells[0]}"'
        lines.append(separator.join(cells))
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


def collected(path: Path) -> tuple[object, ...]:
    """All that is read of a file, or the line that refuses it."""
    read = Collected()
    try:
        (document,) = open_annotations(path).documents
        read.add(document, path.name)
    except UserError as error:
        return (str(error),)
    rows = read.rows
    cells = {field: [rows.values[place] for place in rows.few(field)] for field in FEW_VALUES}
    for field in ("video_id", "path", "lists", "actions"):
        texts = rows.texts(field)
        cells[field] = [None] * len(rows) if texts is None else texts.to_pylist()
    cells["line"] = [rows.line(row) for row in range(len(rows))]
    return cells, read.origins, rows.wrong, list(rows.nameless), read.bad, read.bad_count, read.numbered


def checked(path: Path) -> tuple[object, ...]:
    """What is asked, and all that is said of bad rows; or the line that refuses the file."""
    try:
        found = load_annotations([path, path], on_bad_row="skip")
    except UserError as error:
        return (str(error),)
    return found.columns.to_pylist(), found.labels, found.bad_rows, found.bad_count, found.duplicates


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, read=collected) -> tuple[object, object]:
    with monkeypatch.context() as patch:
        patch.setattr(text_tables, "MOST_AT_ONCE", 2 * at_once)
        patch.setattr(text_tables, "LEAST_AT_ONCE", at_once)
        blocks = read(path)
        patch.setattr(text_tables, "plain_rows", lambda *_: None)
        return blocks, read(path)


@given(texts(), st.integers(2, 6))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_tables_give_the_same_rows_and_bad_rows_in_blocks_as_one_by_one(tmp_path, monkeypatch, text, at_once):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    blocks, rows = both_ways(path, monkeypatch, at_once)
    assert blocks == rows


@given(texts(), st.integers(2, 6))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_tables_ask_for_the_same_and_are_told_alike_in_blocks_and_one_by_one(tmp_path, monkeypatch, text, at_once):
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode())
    blocks, rows = both_ways(path, monkeypatch, at_once, checked)
    assert blocks == rows


@pytest.mark.parametrize("header", HEADERS)
def test_every_odd_cell_of_every_column_is_read_in_a_block_as_by_itself(tmp_path, monkeypatch, header):
    separator = next((one for one in ";\t" if one in header), ",")
    names = header.split(separator)
    plain = [PLAIN.get(name, f"{name[:1]}1") for name in names]
    untimed = [
        "" if name.startswith(("time_", "start", "end")) else cell for name, cell in zip(names, plain, strict=True)
    ]
    odd = [[*plain[:at], cell, *plain[at + 1 :]] for at in range(len(names)) for cell in ODD_CELLS]
    lines = [separator.join(cells) for row in [untimed, *odd] for cells in (plain, row, plain, plain)]
    path = tmp_path / "x.csv"
    path.write_bytes("\n".join([header, *lines]).encode())
    blocks, rows = both_ways(path, monkeypatch, 4)
    assert blocks == rows


@pytest.mark.parametrize("odd", [*ODD_LINES, '"two\nlines",abc,1,2,val', HEADERS[0]])
def test_an_odd_line_at_the_end_or_the_begin_of_a_block_costs_no_other_row(tmp_path, monkeypatch, odd):
    plain = [f"run,abc{number},{number},{number + 1}.5,val" for number in range(20)]
    for place in range(7, 11):
        path = tmp_path / "x.csv"
        path.write_bytes("\n".join([HEADERS[0], *plain[:place], odd, *plain[place:]]).encode())
        blocks, rows = both_ways(path, monkeypatch, 4)
        assert blocks == rows
        assert {f"abc{number}" for number in range(20)} <= set(blocks[0]["video_id"])  # type: ignore[index]


def test_plain_rows_are_read_in_blocks(tmp_path, monkeypatch):
    taken = []

    def noted(header, begin, lines):
        taken.append(plain_blocks.plain_rows(header, begin, lines))
        return taken[-1]

    monkeypatch.setattr(text_tables, "plain_rows", noted)
    path = tmp_path / "x.csv"
    rows = "".join(f'"run, fast",abc{number},1,11,val\r\n' for number in range(700))
    path.write_text(f"{HEADERS[0]}\r\n{rows}")
    cells, *_ = collected(path)
    assert taken
    assert None not in taken
    assert cells["line"] == list(range(2, 702))  # type: ignore[index]
    assert set(cells["label"]) == {"run, fast"}  # type: ignore[index]
