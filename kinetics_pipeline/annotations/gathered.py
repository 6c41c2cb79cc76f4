"""The rows of several annotation files, column by column: only the cells are kept, and equal ones once."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from kinetics_pipeline.annotations.plain_blocks import FewValues, PlainRows
from kinetics_pipeline.annotations.rows import Line, Row
from kinetics_pipeline.annotations.video_names import check_names
from kinetics_pipeline.file_names import normalised

FEW_VALUES = ("label", "time_start", "time_end", "split")
"""Fields with few different cells: a row has the place of its cell in one list of all."""
MAX_REASONS = 10_000
"""Bad rows that are told apart; more are only counted."""


class GatheredRows:
    """Rows whose names are checked, and nothing else yet."""

    def __init__(self) -> None:
        self.values: list[Any] = [None]
        """The different cells of all fields of `FEW_VALUES` together: text, a JSON number, or None."""
        self.wrong: dict[int, str] = {}
        """What is wrong with a row's names, of the first `MAX_REASONS`."""
        self.nameless = array("q")
        """The rows with a wrong name, in their order."""
        self._places: dict[Any, int] = {None: 0}
        self._few: dict[str, list[np.ndarray]] = {field: [] for field in FEW_VALUES}
        self._texts: dict[str, list[pa.Array]] = {field: [] for field in ("video_id", "path", "lists", "actions")}
        self._lines: list[Sequence[Line]] = []
        self._begins: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add_plain(self, rows: PlainRows) -> None:
        """Takes rows that were read many at once."""
        for field, column in zip(FEW_VALUES, (rows.label, rows.time_start, rows.time_end, rows.split), strict=True):
            self._few[field].append(self._placed(column))
        for field in ("path", "lists", "actions"):
            self._texts[field].append(pa.nulls(len(rows.lines)))
        self._texts["video_id"].append(rows.videos)
        self._add_lines(rows.lines)

    def add(self, rows: Sequence[Row]) -> None:
        """Takes rows whose cells are clean."""
        columns: dict[str, Sequence[Any]] = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
        for field in FEW_VALUES:
            self._few[field].append(np.fromiter(map(self.place, columns[field]), np.int32, len(rows)))
        videos, paths = ([None if x is None else normalised(x) for x in columns[name]] for name in ("video_id", "path"))
        wrong = check_names(videos, paths)
        for place in sorted(wrong):
            self.nameless.append(self._count + place)
            if len(self.wrong) < MAX_REASONS:
                self.wrong[self._count + place] = wrong[place]
        for field, cells in (("video_id", videos), ("path", paths), *((x, columns[x]) for x in ("lists", "actions"))):
            self._texts[field].append(pa.nulls(len(rows)) if {*cells} == {None} else pa.array(cells, pa.string()))
        self._add_lines(columns["line"])

    def place(self, value: Any) -> int:
        """Where a cell is in `values`; new ones are added."""
        place = self._places.setdefault(value, len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place

    def few(self, field: str) -> np.ndarray:
        """int32 [N]: for each row where its cell of this field is in `values`."""
        chunks = self._few[field]
        joined: np.ndarray = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.int32), *chunks])
        self._few[field] = [joined]
        return joined

    def texts(self, field: str) -> pa.Array | None:
        """The cells of a field of names or of Charades' and UCF's fields; None where all are null."""
        chunks = self._texts[field]
        if all(chunk.null_count == len(chunk) for chunk in chunks):
            return None
        return pa.chunked_array([chunk.cast(pa.string()) for chunk in chunks], pa.string()).combine_chunks()

    def line(self, row: int) -> Line:
        """The line of a row in its file."""
        number = bisect_right(self._begins, row) - 1
        return self._lines[number][row - self._begins[number]]

    def _placed(self, column: FewValues) -> np.ndarray:
        placed: np.ndarray = np.array([self.place(value) for value in column.values], np.int32)[column.places]
        return placed

    def _add_lines(self, lines: Sequence[Line]) -> None:
        self._begins.append(self._count)
        kept = isinstance(lines, range) or not all(isinstance(line, int) for line in lines)
        self._lines.append(lines if kept else array("q", cast(Sequence[int], lines)))
        self._count += len(lines)
