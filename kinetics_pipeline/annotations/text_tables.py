"""Tables of clips as text: every published form (Kinetics-400, -600, -700), and the plain list `video_id or path,label
[,time_start,time_end][,split]`; with or without a header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter

from kinetics_pipeline.annotations import charades, class_number_lists
from kinetics_pipeline.annotations.plain_blocks import Header, PlainRows, plain_rows
from kinetics_pipeline.annotations.rows import (
    COLUMNS,
    DECIMAL_COMMA,
    EITHER_COLUMNS,
    Reject,
    Row,
    column_names,
    is_time,
    names_file,
    shown,
    unread_time,
)
from kinetics_pipeline.annotations.separators import BLANK, Lines, csv_rows, split_cells
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import YOUTUBE_ID
from kinetics_pipeline.redaction import counted

SAMPLE = 10_000
"""Rows that are looked at to find out which column holds the videos."""
MOST_AT_ONCE, LEAST_AT_ONCE = 8000, 500
"""Lines that are read together."""

Numbered = Iterable[tuple[int, list[str]]]


def read_table(name: str, lines: Iterator[str], reject: Reject) -> tuple[Iterator[Row | PlainRows], bool]:
    """The rows of a table called `name`, and whether their labels are class numbers.

    Raises UserError, also while the rows are read, when the file as a whole makes no sense.
    """
    cells = split_cells(name, lines, reject)
    if cells.header is not None and charades.is_header(cells.header):
        return charades.read_rows(cells.header, cells.rows, reject), False
    if cells.header is not None:
        header = _read_header(name, cells.header)
        if cells.separator == "," and cells.source is not None:
            return _block_by_block(header, cells.source, reject), False
        return _decimal_points(_with_header(header, cells.rows, reject)), False
    if cells.separator == BLANK:
        return class_number_lists.read_rows(cells.rows, reject), True
    if cells.separator == ",":
        return _without_header(cells.rows, reject), False
    rows = _decimal_points(_without_header(cells.rows, reject))
    sample = list(islice(rows, SAMPLE))
    numbered = bool(sample) and all(row.path is not None and (row.label or "").isdecimal() for row in sample)
    return chain(sample, rows), numbered


def _decimal_points(rows: Iterator[Row]) -> Iterator[Row]:
    """Times as `1.5`: where a comma does not separate cells it may be decimal."""
    for row in rows:
        start, end = (
            time.replace(",", ".") if isinstance(time, str) and DECIMAL_COMMA.fullmatch(time) else time
            for time in (row.time_start, row.time_end)
        )
        yield row._replace(time_start=start, time_end=end)


def _read_header(name: str, header: list[str]) -> Header:
    """The columns of a file. Raises UserError where they make no sense."""
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
    if column["time_start"] is None and (unread := unread_time(header)):
        raise UserError(
            f"{name} has a column {shown(unread)}, which is not read; allowed: time_start and time_end, in seconds"
        )
    width = len(header)
    places = tuple(None if n is None else header.index(n) for n in column.values())
    pick = itemgetter(*(width if place is None else place for place in places))
    return Header(
        header, places, pick, either=column["video"] in EITHER_COLUMNS, timed=column["time_start"] is not None
    )


def _block_by_block(header: Header, source: Lines, reject: Reject) -> Iterator[Row | PlainRows]:
    """Many rows at once; near an odd one, which costs as many as are read together, fewer."""
    number = MOST_AT_ONCE
    while lines := source.ahead(number):
        plain = plain_rows(header, source.begin, lines)
        if plain is not None:
            source.pass_over(len(lines))
            number = min(2 * number, MOST_AT_ONCE)
            yield plain
        elif len(lines) > LEAST_AT_ONCE:
            number = LEAST_AT_ONCE
        else:
            rows = csv_rows(source, ",", reject, source.begin + len(lines))
            yield from _with_header(header, rows, reject)


def _with_header(header: Header, cells: Numbered, reject: Reject) -> Iterator[Row]:
    names, width, either, timed = header.names, len(header.names), header.either, header.timed
    for line, row in cells:
        if row[0][:1].lower() == names[0][:1] and column_names(row)[:width] == names:
            continue  # two files were joined
        if len(row) != width:
            if len(row) < width or any(map(str.strip, row[width:])):
                reject(line, f"{counted(len(row), 'cell')} where the header has {width}")
                continue
            row = row[:width]
        row.append("")  # what the absent columns read
        video, path, label, start, end, split = (cell.strip() or None for cell in header.pick(row))
        if either and path is None and video is not None and names_file(video):
            video, path = None, video
        if timed and start is None and end is None and path is None and video is not None:
            reject(line, "no time_start and time_end (leave the columns out to ask for whole videos)")
            continue
        yield Row(line, video, path, label, start, end, split)


def _without_header(cells: Numbered, reject: Reject) -> Iterator[Row]:
    """`video,label[,start,end][,split]` or, like the published files, `label,video,start,end[,split[,is_cc]]`."""
    stripped = ((line, [cell.strip() for cell in row]) for line, row in cells)
    sample = list(islice(stripped, SAMPLE))
    label_first = _label_first([row for _, row in sample])
    for line, row in chain(sample, stripped):
        while len(row) > 1 and not row[-1]:
            row = row[:-1]
        unlabelled = len(row) >= 3 and is_time(row[1]) and is_time(row[2])
        if unlabelled and not (len(row) > 3 and is_time(row[3])):
            row = [row[0], "", *row[1:]]
        elif label_first and len(row) > 1:
            row = [row[1], row[0], *row[2:]]
        times, rest = (row[2:4], row[4:]) if len(row) > 3 else ([], row[2:])
        if len(rest) > 2 or (len(rest) == 2 and rest[1] not in ("0", "1")):
            reject(line, f"{counted(len(row), 'cell')}; allowed: video,label[,time_start,time_end][,split]")
            continue
        if not times and rest and is_time(rest[0]):
            reject(line, f"time_start {shown(rest[0])} without time_end")
            continue
        label, (start, end), split = (row[1] if len(row) > 1 else ""), times or ("", ""), rest[0] if rest else ""
        video, path = (None, row[0]) if names_file(row[0]) else (row[0], None)
        yield Row(line, video or None, path, label or None, start or None, end or None, split or None)


def _label_first(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the second column, and not the first, holds the videos: more of its cells are files or YouTube ids.

    Eleven letters are no id here, for they may be a label (`handwriting`, `JumpingJack`).
    """

    def videos(cells: Iterable[str]) -> int:
        return sum(names_file(c) or (YOUTUBE_ID.fullmatch(c) is not None and not c.isalpha()) for c in cells)

    return videos(row[1] for row in rows if len(row) > 1) > videos(row[0] for row in rows)
