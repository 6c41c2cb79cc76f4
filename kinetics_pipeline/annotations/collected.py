"""The rows of several annotation files, gathered column by column: of five million rows only the cells are kept."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from kinetics_pipeline.annotations.checks import MAX_REASONS, split_in_name
from kinetics_pipeline.annotations.class_folders import ClassFolders
from kinetics_pipeline.annotations.class_names import matched
from kinetics_pipeline.annotations.clean_cells import cleaned
from kinetics_pipeline.annotations.files import Document
from kinetics_pipeline.annotations.json_rows import is_line_of_json, read_json, read_json_lines
from kinetics_pipeline.annotations.rows import BadRow, Line, Reject, Row, Rows
from kinetics_pipeline.annotations.split_lists import ALL, read_lists
from kinetics_pipeline.annotations.text_tables import read_table
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import normalised

MAX_ROWS = 5_000_000
"""The most rows of all files together; Kinetics-700 has 650,000."""
AT_ONCE = 10_000
_PAGE = re.compile(r"<(?:!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_NAMES = ("video_id", "path")
"""Fields that are kept in one Unicode form, since file systems change it."""
_REPEATED = ("label", "time_start", "time_end", "split")
"""Fields with few different values: equal ones are kept once."""


class Collected:
    """What has been read so far."""

    def __init__(self, other_split: str = "train") -> None:
        """`other_split`: that of rows and files that say none."""
        self._other_split = other_split
        self._folder_rows: list[slice] = []
        self.columns: list[list[Any]] = [[] for _ in Row._fields]
        """A list for each field of `Row`."""
        self.document = array("L")
        """The number of the file in `origins`, for each row."""
        self.origins: list[tuple[str, str]] = []
        """The name of each file, and the split that the name gives."""
        self.bad: list[tuple[int, BadRow]] = []
        """Rows that are not even rows, with the number of their file; the first `MAX_REASONS`."""
        self.bad_count = 0
        self.numbered = False
        """Whether labels of some file are class numbers."""
        self._known: dict[Any, Any] = {}

    def add(self, document: Document, name: str) -> None:
        """Reads a file called `name`. Raises UserError when it makes no sense as a whole, has no rows, or too many."""
        before = len(self.document) + self.bad_count
        rows, numbered = _parse(document, partial(self._reject, name))
        self._extend(rows, name)
        if len(self.document) + self.bad_count == before:
            raise UserError(f"annotation file {document.name} has no rows")
        self.numbered |= numbered
        self.origins.append((name, split_in_name(document.name) or self._other_split))

    def add_class_folders(self, name: str, folders: ClassFolders) -> None:
        """Takes the videos of class folders. Their classes are the folders' names until `name_classes` is called."""
        self._folder_rows.append(slice(len(self.document), len(self.document) + len(folders.rows)))
        self._extend(folders.rows, name)
        self.origins.append((name, self._other_split))

    def name_classes(self, labels: Sequence[str] | None) -> None:
        """Gives the classes of folders the names that `labels`, or else the other files, have for them."""
        column = self.columns[Row._fields.index("label")]
        if labels is None:
            others = np.ones(len(column), bool)
            for rows in self._folder_rows:
                others[rows] = False
            labels = sorted({column[row] for row in np.flatnonzero(others)} - {None})
        names: dict[str, str] = {}
        for rows in self._folder_rows:
            for row in range(rows.start, rows.stop):
                if column[row] not in names:
                    names[column[row]] = matched(column[row], labels) or column[row]
                column[row] = names[column[row]]

    def add_split_lists(self, documents: Sequence[Document]) -> None:
        """Reads the split lists of UCF-101 or HMDB-51 together."""
        rows, bad = read_lists(documents)
        for row in bad:
            self._reject(row.file, row.line, row.reason)
        self._extend(rows, documents[0].name)
        self.origins.append((documents[0].name, ALL))

    def _extend(self, rows: Iterable[Row | Rows], name: str) -> None:
        for columns in _in_columns(rows):
            self.document.extend([len(self.origins)] * len(columns[0]))
            if len(self.document) > MAX_ROWS:
                raise UserError(f"annotation file {name}: more than {MAX_ROWS:,} rows are asked for")
            for field, column, values in zip(Row._fields, self.columns, columns, strict=True):
                cells: Iterable[Any] = values
                if field in _NAMES:
                    cells = [cell if cell is None or cell.isascii() else normalised(cell) for cell in values]
                if field in _REPEATED:
                    cells = map(self._known.setdefault, values, values)
                column.extend(cells)

    def _reject(self, name: str, line: Line, reason: str) -> None:
        self.bad_count += 1
        if self.bad_count > MAX_ROWS:
            raise UserError(f"annotation file {name}: more than {MAX_ROWS:,} rows are bad")
        if len(self.bad) < MAX_REASONS:
            self.bad.append((len(self.origins), BadRow(name, line, reason)))


def _in_columns(rows: Iterable[Row | Rows]) -> Iterator[tuple[Sequence[Any], ...]]:
    """The cells of each field, clean, of some thousand rows at a time."""
    single: list[Row] = []
    for row in rows:
        if isinstance(row, Row):
            single.append(cleaned(row))
        if single and (isinstance(row, Rows) or len(single) == AT_ONCE):
            yield tuple(zip(*single, strict=True))
            single = []
        if isinstance(row, Rows):
            yield row.columns
    if single:
        yield tuple(zip(*single, strict=True))


def _parse(document: Document, reject: Reject) -> tuple[Iterator[Row | Rows], bool]:
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
