"""Many rows of a table with a header at once, column by column: where none of them is odd, which is nearly always."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from kinetics_pipeline.annotations.clean_cells import cleaned_label
from kinetics_pipeline.annotations.rows import column_names
from kinetics_pipeline.records import MAX_ID

_QUOTED = re.compile(r'(?:(?<=,)|^)"[^"\n]*"(?=,|$)', re.MULTILINE)
"""A whole cell in quotes that has none inside."""
_ODD = re.compile('[\x00"\ufeff]')
_TEXTS = pa.dictionary(pa.int32(), pa.string())
MOST_CHARACTERS = 1 << 20
"""The most that lines which are read together may have; some thousand rows have a quarter."""


@dataclass(frozen=True)
class Header:
    """The columns of a table."""

    names: list[str]
    """The spelling is that of `column_names`."""
    places: tuple[int | None, ...]
    """Where video, path, label, start, end and split stand; None for columns that are absent."""
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    """Picks these six out of a row with one more cell, which absent columns read."""
    either: bool
    """Whether the column of videos may name an id or a file."""
    timed: bool


@dataclass(frozen=True)
class FewValues:
    """A column of few different cells."""

    values: list[str | None]
    places: np.ndarray
    """Each row's place of its cell in `values`, int [N]."""


@dataclass(frozen=True)
class PlainRows:
    """Rows of a table that name videos by plain ids, and whose cells are clean."""

    lines: range
    videos: pa.Array
    """string, never null."""
    label: FewValues
    time_start: FewValues
    time_end: FewValues
    split: FewValues


def plain_rows(header: Header, begin: int, lines: Sequence[str]) -> PlainRows | None:
    """The rows of these lines, of which the first is line `begin`; None where one of them may be odd, so that each is
    to be read by itself. Not odd: one line and as many cells as the header, quotes around whole cells alone, and a
    plain id in place of a path."""
    text = "".join(lines)
    unquoted = _QUOTED.sub("", text) if '"' in text else text
    if len(text) > MOST_CHARACTERS or _ODD.search(unquoted) or header.places[0] is None:
        return None
    table = _read(header, text)
    if table is None or len(table) != len(lines):
        return None
    paths, *others = (None if place is None else table[str(place)] for place in header.places[1:])
    videos = table[str(header.places[0])]
    if not _are_plain(header, videos) or (paths is not None and pc.max(pc.binary_length(paths)).as_py()):
        return None
    label, start, end, split = (_few(column, len(table)) for column in others)
    label = FewValues([cleaned_label(cell) for cell in label.values], label.places)
    if header.timed and None in start.values and None in end.values:
        return None
    return PlainRows(range(begin, begin + len(lines)), videos.combine_chunks(), label, start, end, split)


def _read(header: Header, text: str) -> pa.Table | None:
    """The columns by their places, as `csv` reads them; None where a row has not as many cells as the header."""
    video, path, *others = header.places
    kinds = {str(place): pa.string() for place in (video, path) if place is not None}
    kinds |= {str(place): _TEXTS for place in others if place is not None}
    data = text.encode()
    try:
        return pa_csv.read_csv(
            pa.BufferReader(data),
            pa_csv.ReadOptions(
                use_threads=False,
                block_size=len(data) + 1,
                column_names=[str(place) for place in range(len(header.names))],
            ),
            pa_csv.ParseOptions(ignore_empty_lines=False),
            pa_csv.ConvertOptions(include_columns=list(kinds), column_types=kinds, null_values=[]),
        )
    except pa.ArrowInvalid:
        return None


def _are_plain(header: Header, videos: pa.ChunkedArray) -> bool:
    """Whether all are ids, and none may be the name of the column, as where two files were joined."""
    if not pc.all(pc.match_substring_regex(videos, r"\A\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*\z")).as_py():
        return False
    if pc.max(pc.binary_length(videos)).as_py() > MAX_ID:
        return False
    if header.either and pc.any(pc.match_substring(videos, ".")).as_py():
        return False
    assert header.places[0] is not None
    name = header.names[header.places[0]]
    similar = videos.filter(pc.match_substring_regex(videos, rf"\A[_-]*{re.escape(name[:1])}", ignore_case=True))
    return name not in column_names(similar.to_pylist())


def _few(column: pa.ChunkedArray | None, rows: int) -> FewValues:
    """The cells without blanks around them, None for empty ones; nothing but None for a column that is absent."""
    if column is None:
        return FewValues([None], np.zeros(rows, np.int32))
    encoded = column.combine_chunks()
    values = [cell.strip() or None for cell in encoded.dictionary.to_pylist()]
    return FewValues(values, encoded.indices.to_numpy())
