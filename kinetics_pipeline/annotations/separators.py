"""Lines of a table -> cells: what separates them is told by the file itself.

A spreadsheet writes commas, semicolons (where the comma is decimal) or tabs, Excel also a first line `sep=;`. Lists
for training programs (mmaction2, SlowFast) have blanks.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise

from kinetics_pipeline.annotations import charades
from kinetics_pipeline.annotations.rows import COLUMNS, Reject, column_names, is_header, is_time, names_file, shown
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.records import VIDEO_ID

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
BLANK = " "
"""Stands for any number of blanks and tabs."""
_COMMENT = re.compile(r"\s*#(?:[#\s]|$)")
SAMPLE = 1000
"""Lines that are looked at to find out what separates cells."""
MOST_LINES_A_ROW = 1000
"""A quote that is open for longer is never closed."""
AT_ONCE = 500
"""Lines that are looked through together."""


@dataclass
class Cells:
    """A table whose separator is known."""

    separator: str
    header: list[str] | None
    """The names of the columns, as `column_names` spells them."""
    rows: Iterator[tuple[int, list[str]]]
    """The line of a row's start, from 1, and its cells; without the header and without blank lines."""
    source: Lines | None
    """The lines that are read next, for who reads them in place of `rows`; None where blanks separate cells."""


def split_cells(name: str, lines: Iterator[str], reject: Reject) -> Cells:
    """The cells of a file called `name`. Rows with broken quotes are rejected. Raises UserError for `sep=` with a
    separator that is not allowed."""
    lines = _without_comments(lines)
    sample = list(islice(lines, SAMPLE))
    blank = next((number for number, line in enumerate(sample) if not line.isspace()), 0)
    sample, begin = sample[blank:], 1 + blank
    lines = chain(sample, lines)
    declared = re.fullmatch(r'"?sep=(.+?)"?\s*', sample[0], re.IGNORECASE) if sample else None
    if declared is not None:
        next(lines)
        sample, begin = sample[1:], begin + 1
        if declared[1] not in SEPARATORS:
            allowed = ", ".join(SEPARATORS.values())
            raise UserError(f"annotation file {name} says sep={shown(declared[1])}; allowed: {allowed}")
    sample = [line for line in sample if not line.isspace()]
    separator = declared[1] if declared is not None else _separator(sample)
    if separator == BLANK:
        rows = _blank_separated(lines, begin)
        source = None
    else:
        source = Lines(lines, begin)
        rows = csv_rows(source, separator, reject)
    first = _cells(sample[0], separator) if sample else []
    header = column_names(first)
    if not (is_header(header) or charades.is_header(first)):
        return Cells(separator, None, rows, source)
    next(rows)
    return Cells(separator, header, rows, source)


def _without_comments(lines: Iterator[str]) -> Iterator[str]:
    """The lines, blank ones in place of those that begin with `# `; but such a line before the first row may name the
    columns (AudioSet)."""
    return chain.from_iterable(_blocks_without_comments(lines))


def _blocks_without_comments(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        if _COMMENT.match(line):
            names = line.lstrip("# \t")
            line = names if _names_videos(names) else "\n"
        yield [line]
        if not line.isspace():
            break
    while block := list(islice(lines, AT_ONCE)):
        if "#" in "".join(block):
            block = ["\n" if _COMMENT.match(line) else line for line in block]
        yield block


def _names_videos(line: str) -> bool:
    """Whether a line is a header with a column of videos."""
    videos = {*COLUMNS["video"], *COLUMNS["path"]}
    headers = [column_names(_cells(line, separator)) for separator in SEPARATORS]
    return any(len(header) > 1 and is_header(header) and videos & {*header} for header in headers)


def _separator(sample: Sequence[str]) -> str:
    if not sample:
        return ","
    for separator in (*SEPARATORS, BLANK):
        header = column_names(_cells(sample[0], separator))
        if is_header(header) and (len(header) > 1 or separator == ","):
            return separator
    weight = {separator: sum(_weight(_cells(line, separator)) for line in sample) for separator in SEPARATORS}
    best = max(weight, key=lambda separator: weight[separator])  # of several the first: commas
    if weight[best] >= len(sample):
        return best
    return BLANK if sum(_weight(_cells(line, BLANK)) for line in sample) >= len(sample) else ","


def _weight(cells: Sequence[str]) -> int:
    """How much a line cut in this way looks like a row: 4 with a video's name or times, 2 with what may be an id, 1
    where the separator may be a comma in a sentence, 0 for no row."""
    found = [cell.strip() for cell in cells[:4]]
    if len(found) < 2 or not all(found[:2]) or not any(names_file(one) or VIDEO_ID.fullmatch(one) for one in found[:2]):
        return 0
    timed = any(is_time(start) and is_time(end) for start, end in pairwise(found[1:]))
    if timed or any(map(is_video, found[:2])):
        return 4
    return 1 if cells[1][0].isspace() else 2


def _cells(line: str, separator: str) -> list[str]:
    if separator == BLANK:
        return blank_separated(line)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def blank_separated(line: str) -> list[str]:
    """The cells of a line without commas: a file's name may have blanks in it, up to its suffix, or stand alone."""
    words = line.split()
    if is_video(line.strip()) and not any(map(is_video, words[:-1])):
        return [" ".join(words)]
    for end in range(len(words) - 1, 0, -1):
        path = " ".join(words[:end])
        if end > 1 and re.search(r"\.[A-Za-z]\w{1,4}$", path) and names_file(path):
            return [path, *words[end:]]
    return words


def _blank_separated(lines: Iterator[str], begin: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, begin):
        if not line.isspace():
            yield number, blank_separated(line)


def csv_rows(source: Lines, separator: str, reject: Reject, end: int = sys.maxsize) -> Iterator[tuple[int, list[str]]]:
    """The rows that begin before the line `end`, without blank ones. A row with broken quotes is bad and costs no other
    row: reading goes on in the next line, although an open quote would run on to the next quote or the end."""
    while source.begin < end and source.more():
        try:
            for row in _reader(source, separator):
                start = source.begin_row()
                if any(cell and not cell.isspace() for cell in row):
                    yield start, row
                if source.begin >= end:
                    return
        except csv.Error as error:
            reject(source.back_to_second_line(), f"not a CSV row ({error})")


def _reader(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)


class Lines:
    """Lines that can be gone back to as long as their row is not finished."""

    def __init__(self, lines: Iterator[str], begin: int) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self._of_row: list[str] = []
        self.begin = begin
        """The line at which the row begins that is read next."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._of_row) == MOST_LINES_A_ROW:
            raise csv.Error("a quote is not closed")
        line = self._again.popleft() if self._again else next(self._lines)
        self._of_row.append(line)
        return line

    def more(self) -> bool:
        if not self._again and (line := next(self._lines, None)) is not None:
            self._again.append(line)
        return bool(self._again)

    def ahead(self, most: int) -> list[str]:
        """The next lines, between two rows, without passing over them; fewer than `most` before the end alone."""
        self._again.extend(islice(self._lines, max(0, most - len(self._again))))
        return list(islice(self._again, most))

    def pass_over(self, count: int) -> None:
        """Goes on behind so many lines, which `ahead` gave."""
        if count == len(self._again):
            self._again.clear()
        for _ in range(min(count, len(self._again))):
            self._again.popleft()
        self.begin += count

    def begin_row(self) -> int:
        """The line at which the finished row began."""
        start = self.begin
        self.begin += len(self._of_row)
        self._of_row.clear()
        return start

    def back_to_second_line(self) -> int:
        """Goes on after the first line of the row, which is bad, and gives that line's number."""
        start = self.begin
        self._again.extendleft(reversed(self._of_row[1:]))
        self._of_row.clear()
        self.begin += 1
        return start
