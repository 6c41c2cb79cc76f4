"""The rows of an annotation file as they stand there, unchecked: CSV with or without a header, JSON in its two forms.

Reads every published form (Kinetics-400, -600, -700) and the plain list `video_id or path,label[,time_start,time_end]
[,split]`. What a row means is decided here; whether it is right, in `annotations`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from kinetics_pipeline.annotations import charades
from kinetics_pipeline.annotations.files import Document
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import YOUTUBE_ID

Line = int | str
"""A row's line in its file, from 1; of a JSON object the key; of a JSON list the number of the item, from 1."""

ID_COLUMNS = ("youtube_id", "video_id", "id")
EITHER_COLUMNS = ("video_id", "id", "video")
"""Columns that may name an id or a file."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "video": (*ID_COLUMNS, "video"),
    "path": ("path", "video_path", "file", "filename"),
    "label": ("label", "class", "action"),
    "time_start": ("time_start", "start", "start_time"),
    "time_end": ("time_end", "end", "end_time"),
    "split": ("split", "subset"),
}
"""What each column may be called, in any case; the first that a file has is read."""

VIDEO_SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
}
JSON_FIELDS = {"annotations", "segment"}.union(*COLUMNS.values())
"""An object with none of these names is none of a clip."""
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}
"""What other files have where these have commas."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Row(NamedTuple):
    """Cells as the file has them: text, a JSON number, or None where there is none."""

    line: Line
    video_id: str | None
    path: str | None
    label: str | None
    time_start: str | float | None
    time_end: str | float | None
    split: str | None
    lists: str | None = None
    """Names of the lists that a clip is on, as `train1 test2 train3`: UCF-101 and HMDB-51 split their clips thrice."""
    actions: str | None = None
    """`label start end;...`: of a clip with several labels, each in its own time."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why."""

    file: str
    line: Line
    reason: str

    def __str__(self) -> str:
        line = self.line if isinstance(self.line, int) or self.line.isprintable() else shown(self.line)
        return f"{self.file}:{line}: {self.reason}"


def shown(value: object) -> str:
    """A value from a file, quoted for a message: escaped, so that it cannot act on a terminal, and not endless."""
    text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def parse(document: Document) -> tuple[list[Row], list[BadRow]]:
    """The rows of a file and those that are not even rows. Raises UserError when the file as a whole makes no sense."""
    rows, bad = _parse_json(document) if document.format == "json" else _parse_csv(document)
    if not rows and not bad:
        raise UserError(f"annotation file {document.name} has no rows")
    return rows, bad


def names_file(cell: str) -> bool:
    """Whether a cell that may hold an id or a path holds a path: it has a slash, or ends like a video file."""
    return "/" in cell or PurePosixPath(cell.lower()).suffix in VIDEO_SUFFIXES


def _parse_csv(document: Document) -> tuple[list[Row], list[BadRow]]:
    bad: list[BadRow] = []
    cells = list(_csv_rows(document, bad))
    if not cells:
        return [], bad
    if charades.is_header(cells[0][1]):
        rows, wrong = charades.read_rows(cells)
        return [Row(line, video, None, None, None, None, None, None, acts) for line, video, acts in rows], [
            *bad,
            *(BadRow(document.name, line, reason) for line, reason in wrong),
        ]
    header = _names(cells[0][1])
    if _is_header(header):
        return _with_header(document.name, header, cells[1:], bad), bad
    for separator, name in SEPARATORS.items():
        if len(header) == 1 and _is_header(_names(cells[0][1][0].split(separator))):
            raise UserError(f"annotation file {document.name} separates its columns by {name}; allowed: commas")
    return _without_header(document.name, cells, bad), bad


def _names(cells: list[str]) -> list[str]:
    """What a header calls its columns, spelt as in `COLUMNS`."""
    return [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in cells]


def _is_header(cells: list[str]) -> bool:
    """Whether a first row names columns: one that names the video, or two others (a header that lacks the video)."""
    found = {field for field, names in COLUMNS.items() for name in names if name in cells}
    return not any(map(_is_number, cells)) and (bool(found & {"video", "path"}) or len(found) > 1)


def _csv_rows(document: Document, bad: list[BadRow]) -> Iterator[tuple[int, list[str]]]:
    """Line (of a row's start) and cells, blank lines left out. A row with broken quotes is bad and costs no other row:
    reading goes on in the next line, although an open quote would run on to the next quote or the end."""
    lines = io.StringIO(document.text, newline=None).readlines()
    start = 0
    while start < len(lines):
        begin = start
        reader = csv.reader((lines[i] for i in range(begin, len(lines))), strict=True)
        try:
            for row in reader:
                if any(cell and not cell.isspace() for cell in row):
                    yield start + 1, row
                start = begin + reader.line_num
        except csv.Error as error:
            bad.append(BadRow(document.name, start + 1, f"not a CSV row ({error})"))
            start += 1


def _with_header(name: str, header: list[str], cells: list[tuple[int, list[str]]], bad: list[BadRow]) -> list[Row]:
    while header and not header[-1]:
        header = header[:-1]
    column = {field: next((n for n in names if n in header), None) for field, names in COLUMNS.items()}
    if column["video"] is None and column["path"] is None:
        allowed = ", ".join((*COLUMNS["video"], "path"))
        raise UserError(f"{name} has no column that names the video; it has {shown(','.join(header))}, needs {allowed}")
    repeated = [n for n in column.values() if n is not None and header.count(n) > 1]
    if repeated:
        raise UserError(f"{name} has more than one column {repeated[0]}")
    if (column["time_start"] is None) != (column["time_end"] is None):
        raise UserError(f"{name} has only one of the columns time_start and time_end; it needs both or neither")
    width = len(header)
    pick = itemgetter(*(header.index(n) if n is not None else width for n in column.values()))
    either, timed = column["video"] in EITHER_COLUMNS, column["time_start"] is not None
    rows = []
    for line, row in cells:
        if len(row) != width:
            if len(row) < width or any(map(str.strip, row[width:])):
                bad.append(BadRow(name, line, f"{len(row)} cells where the header has {width}"))
                continue
            row = row[:width]
        row.append("")  # what the absent columns read
        video, path, label, start, end, split = (cell.strip() or None for cell in pick(row))
        if either and path is None and video is not None and names_file(video):
            video, path = None, video
        if timed and start is None and end is None and path is None and video is not None:
            bad.append(BadRow(name, line, "no time_start and time_end (leave the columns out to ask for whole videos)"))
            continue
        rows.append(Row(line, video, path, label, start, end, split))
    return rows


def _without_header(name: str, cells: list[tuple[int, list[str]]], bad: list[BadRow]) -> list[Row]:
    """`video,label[,start,end][,split]` or, like the published files, `label,video,start,end[,split[,is_cc]]`."""
    stripped = [(line, [cell.strip() for cell in row]) for line, row in cells]
    label_first = _label_first([row for _, row in stripped])
    rows = []
    for line, row in stripped:
        while len(row) > 1 and not row[-1]:
            row = row[:-1]
        unlabelled = len(row) >= 3 and _is_number(row[1]) and _is_number(row[2])
        if unlabelled and not (len(row) > 3 and _is_number(row[3])):
            row = [row[0], "", *row[1:]]
        elif label_first and len(row) > 1:
            row = [row[1], row[0], *row[2:]]
        times, rest = (row[2:4], row[4:]) if len(row) > 3 else ([], row[2:])
        if len(rest) > 2 or (len(rest) == 2 and rest[1] not in ("0", "1")):
            bad.append(BadRow(name, line, f"{len(row)} cells; allowed: video,label[,time_start,time_end][,split]"))
            continue
        if not times and rest and _is_number(rest[0]):
            bad.append(BadRow(name, line, f"time_start {shown(rest[0])} without time_end"))
            continue
        label, (start, end), split = (row[1] if len(row) > 1 else ""), times or ("", ""), rest[0] if rest else ""
        video, path = (None, row[0]) if names_file(row[0]) else (row[0], None)
        rows.append(Row(line, video or None, path, label or None, start or None, end or None, split or None))
    return rows


def _label_first(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the second column, and not the first, holds the videos: more of its cells are files or YouTube ids.

    Eleven letters are no id here, for they may be a label (`handwriting`, `JumpingJack`).
    """

    def videos(cells: Iterable[str]) -> int:
        return sum(names_file(c) or (YOUTUBE_ID.fullmatch(c) is not None and not c.isalpha()) for c in cells)

    return videos(row[1] for row in rows if len(row) > 1) > videos(row[0] for row in rows)


def _is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell) is not None


class _Repeated(list[tuple[str, Any]]):
    """The pairs of a JSON object that has a key twice; as a dict the last would win in silence."""


def _parse_json(document: Document) -> tuple[list[Row], list[BadRow]]:
    try:
        content = json.loads(document.text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(f"annotation file {document.name} is not JSON: {' '.join(str(error).split())}") from None
    if isinstance(content, dict) and isinstance(videos := content.get("database"), dict):  # as ActivityNet publishes it
        content = videos
    items: Iterable[tuple[Line, Any]]
    if isinstance(content, _Repeated):
        items = content
    elif isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content, start=1)
    else:
        raise UserError(f"annotation file {document.name} holds neither an object nor a list")
    rows: list[Row] = []
    bad: list[BadRow] = []
    for line, item in items:
        if isinstance(item, dict):
            rows.extend(_json_rows(document.name, line, item, bad))
        else:
            reason = "a key twice" if isinstance(item, _Repeated) else f"not an object: {shown(item)}"
            bad.append(BadRow(document.name, line, reason))
    return rows, bad


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    document = dict(pairs)
    return document if len(document) == len(pairs) else _Repeated(pairs)


def _json_rows(name: str, line: Line, item: dict[str, Any], bad: list[BadRow]) -> Iterator[Row]:
    """The published form names the video by key and has `annotations`, one or (ActivityNet) a list; a list of flat
    objects names everything inside."""
    fields = {key.strip().lower(): value for key, value in item.items()}
    if not fields.keys() & JSON_FIELDS:
        bad.append(BadRow(name, line, f"no annotations, label or split in {shown(item)}"))
        return
    annotations = fields.get("annotations") or {}
    for annotation in annotations if isinstance(annotations, list) else [annotations]:
        if not isinstance(annotation, dict):
            bad.append(BadRow(name, line, f"annotations are not an object: {shown(annotation)}"))
            continue
        cells = fields | {key.strip().lower(): value for key, value in annotation.items()}
        segment = cells.get("segment")
        if segment is None:
            segment = [_cell(cells, "time_start"), _cell(cells, "time_end")]
        if not isinstance(segment, list) or len(segment) != 2:
            bad.append(BadRow(name, line, f"segment is {shown(segment)}, not [start, end]"))
            continue
        named = _cell(cells, "label")
        if isinstance(named, list | dict | float):
            bad.append(BadRow(name, line, f"label is {shown(named)}, not one text"))
            continue
        path = _text(_cell(cells, "path"))
        video = line if isinstance(line, str) else _text(_cell(cells, "video"))
        if path is None and video is not None and "youtube_id" not in cells and names_file(video):
            video, path = None, video
        start, end = (_scalar(time) for time in segment)
        label, split = _text(named), _text(_cell(cells, "split"))
        yield Row(line, video.strip() or None if video else None, path, label, start, end, split)


def _cell(cells: dict[str, Any], field: str) -> Any:
    return next((cells[name] for name in COLUMNS[field] if name in cells), None)


def _text(value: object) -> str | None:
    return None if value is None else str(value).strip() or None


def _scalar(value: object) -> str | float | None:
    """Numbers as they are; anything else as text, which will not pass for a number unless it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return str(value)
    return value
