"""Reads annotation files, whatever their form, and gathers their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np

from kinetics_pipeline.annotations.checks import Origin, split_in_name
from kinetics_pipeline.annotations.class_folders import ClassFolders
from kinetics_pipeline.annotations.class_names import matched
from kinetics_pipeline.annotations.clean_cells import cleaned
from kinetics_pipeline.annotations.files import Document
from kinetics_pipeline.annotations.gathered import MAX_REASONS, GatheredRows
from kinetics_pipeline.annotations.json_rows import is_line_of_json, read_json, read_json_lines
from kinetics_pipeline.annotations.plain_blocks import PlainRows
from kinetics_pipeline.annotations.rows import BadRow, Line, Reject, Row
from kinetics_pipeline.annotations.split_lists import ALL, read_lists
from kinetics_pipeline.annotations.text_tables import read_table
from kinetics_pipeline.errors import UserError

MAX_ROWS = 10_000_000
"""The most rows of all files together; Kinetics-700 has 650,000."""
AT_ONCE = 10_000
_PAGE = re.compile(r"<(?:!doctype|html|head|body|\?xml)\b", re.IGNORECASE)


class Collected:
    """What has been read so far."""

    def __init__(self, other_split: str = "train") -> None:
        """`other_split`: that of rows and files that say none."""
        self._other_split = other_split
        self._folder_rows: list[slice] = []
        self.rows = GatheredRows()
        self.origins: list[Origin] = []
        self.bad: list[tuple[int, BadRow]] = []
        """Rows that are not even rows, with the number of their file; the first `MAX_REASONS`."""
        self.bad_count = 0
        self.numbered = False
        """Whether labels of some file are class numbers."""

    def add(self, document: Document, name: str) -> None:
        """Reads a file called `name`. Raises UserError when it makes no sense as a whole, has no rows, or too many."""
        first, bad_before = len(self.rows), self.bad_count
        rows, numbered = _parse(document, partial(self._reject, name))
        self._extend(rows, name)
        if (len(self.rows), self.bad_count) == (first, bad_before):
            raise UserError(f"annotation file {document.name} has no rows")
        self.numbered |= numbered
        self.origins.append(Origin(name, split_in_name(document.name) or self._other_split, first))

    def add_class_folders(self, name: str, folders: ClassFolders) -> None:
        """Takes the videos of class folders. Their classes are the folders' names until `name_classes` is called."""
        first = len(self.rows)
        self._folder_rows.append(slice(first, first + len(folders.rows)))
        self._extend(folders.rows, name)
        self.origins.append(Origin(name, self._other_split, first))

    def name_classes(self, labels: Sequence[str] | None) -> None:
        """Gives the classes of folders the names that `labels`, or else the other files, have for them."""
        column, values = self.rows.few("label"), self.rows.values
        if labels is None:
            others = np.ones(len(column), bool)
            for rows in self._folder_rows:
                others[rows] = False
            labels = sorted({values[place] for place in np.unique(column[others])} - {None})
        for rows in self._folder_rows:
            different, places = np.unique(column[rows], return_inverse=True)
            names = [matched(values[place], labels) or values[place] for place in different]
            column[rows] = np.array([self.rows.place(name) for name in names], np.int32)[places]

    def add_split_lists(self, documents: Sequence[Document]) -> None:
        """Reads the split lists of UCF-101 or HMDB-51 together."""
        rows, bad = read_lists(documents)
        for row in bad:
            self._reject(row.file, row.line, row.reason)
        first = len(self.rows)
        self._extend(rows, documents[0].name)
        self.origins.append(Origin(documents[0].name, ALL, first))

    def _extend(self, rows: Iterable[Row | PlainRows], name: str) -> None:
        for some in _together(rows):
            if isinstance(some, PlainRows):
                self.rows.add_plain(some)
            else:
                self.rows.add(some)
            if len(self.rows) > MAX_ROWS:
                raise UserError(f"annotation file {name}: more than {MAX_ROWS:,} rows are asked for")

    def _reject(self, name: str, line: Line, reason: str) -> None:
        self.bad_count += 1
        if self.bad_count > MAX_ROWS:
            raise UserError(f"annotation file {name}: more than {MAX_ROWS:,} rows are bad")
        if len(self.bad) < MAX_REASONS:
            self.bad.append((len(self.origins), BadRow(name, line, reason)))


def _together(rows: Iterable[Row | PlainRows]) -> Iterator[Sequence[Row] | PlainRows]:
    """Rows that come one by one some thousand at a time, their cells clean."""
    single: list[Row] = []
    for row in rows:
        if isinstance(row, Row):
            single.append(cleaned(row))
        if single and (isinstance(row, PlainRows) or len(single) == AT_ONCE):
            yield single
            single = []
        if isinstance(row, PlainRows):
            yield row
    if single:
        yield single


def _parse(document: Document, reject: Reject) -> tuple[Iterator[Row | PlainRows], bool]:
    """The rows of a file, and whether their labels are class numbers. Raises UserError for a file without text."""
    if document.format == "json lines":
        return read_json_lines(document.name, document.lines(), reject), False
    blocks = document.blocks()
    begin = ""
    while not begin.strip() and (block := next(blocks, "")):
        begin += block.lstrip()
    if not begin.strip():
        raise UserError(f"annotation file {document.name} is empty")
    # A .txt may hold either: what begins as JSON is read as such.
    if begin[0] == "{" and is_line_of_json(begin.partition("\n")[0]):
        blocks.close()
        return read_json_lines(document.name, document.lines(), reject), False
    if _PAGE.match(begin):
        raise UserError(f"annotation file {document.name} is a web page; was it saved in place of the file?")
    if document.format == "json" or begin[0] == "{" or begin.startswith("[{"):
        return read_json(document.name, chain([begin], blocks), reject), False
    blocks.close()
    return read_table(document.name, document.lines(), reject)
