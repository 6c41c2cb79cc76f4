"""The table of annotations as Arrow columns, which take a third of the memory of a DataFrame; and clips of its rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.records import Clip, among

# Imported where a DataFrame is made: it takes most of a second of a process's start.
if TYPE_CHECKING:
    import pandas as pd

TIMES = ("time_start", "time_end")
_FEW_VALUES = ("label", "split")
_OF_CLIP = ("clip_id", "video_id", *TIMES, "label", "split", "path")
_ROWS_AT_ONCE = 4096
_TEXTS = pa.dictionary(pa.int32(), pa.string())


def as_columns(table: pd.DataFrame | pa.Table) -> pa.Table:
    """The same rows as Arrow columns: null for None and for NaN times, label and split as dictionaries."""
    if isinstance(table, pa.Table):
        return table
    columns = {}
    for name in table.columns:
        values = table[name].to_numpy()
        kind = pa.float64() if name in TIMES else pa.string()
        column = pa.array(values, type=kind, from_pandas=True)
        columns[name] = as_texts(column) if name in _FEW_VALUES else column
    return pa.table(columns)


def as_texts(column: pa.Array) -> pa.Array:
    """Texts of which few are different, each kept once."""
    return column.dictionary_encode().cast(_TEXTS)


def as_frame(table: pa.Table) -> pd.DataFrame:
    """The same rows as `read_annotations` gives them: None for no text, NaN for no time. Equal texts of label and split
    are one object."""
    import pandas as pd

    columns = {name: _values(table[name]) for name in table.column_names}
    # Series of objects, for pandas would make NaN of a None in its own strings.
    return pd.DataFrame({name: pd.Series(column, dtype=column.dtype) for name, column in columns.items()})


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers that tell different texts apart, from 0; -1 for none."""
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    return cast(np.ndarray, pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False))


def number_among_equals(column: pa.ChunkedArray) -> np.ndarray:
    """How many rows with the same text, or none either, come before each."""
    kinds = codes(column)
    order = np.argsort(kinds, kind="stable")
    begins = np.flatnonzero(np.diff(kinds[order], prepend=-2))
    numbers = np.empty(len(kinds), np.intp)
    numbers[order] = np.arange(len(kinds)) - np.repeat(begins, np.diff(begins, append=len(kinds)))
    return numbers


def rows_with(column: pa.ChunkedArray, texts: Collection[str]) -> pa.Array:
    """Marks the rows that have one of these texts."""
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        return pc.is_in(encoded, pa.array(list(texts), pa.string()))
    marked = np.array([text in texts for text in encoded.dictionary.to_pylist()] + [False], bool)
    return pa.array(marked[codes(column)])


def outcome_table(outcomes: Mapping[str, str] | pa.Table) -> pa.Table:
    """Outcomes by clip_id as columns `clip_id` and `outcome`."""
    if isinstance(outcomes, pa.Table):
        return outcomes
    columns = (pa.array(list(values), pa.string()) for values in (outcomes.keys(), outcomes.values()))
    return pa.table(dict(zip(("clip_id", "outcome"), columns, strict=True)))


def without_clips(table: pa.Table, clip_ids: pa.ChunkedArray) -> pa.Table:
    """The rows of other clips than these."""
    return table.filter(pc.invert(among(table["clip_id"], clip_ids))) if len(clip_ids) else table


def _values(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        encoded = column.combine_chunks()
        known = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
        return cast(np.ndarray, known[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)])
    if not pa.types.is_string(column.type):
        return cast(np.ndarray, column.to_numpy())
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def clips_of(table: pd.DataFrame | pa.Table) -> Iterator[Clip]:
    """The rows of a table as clips, None for times that are not there. Of Arrow columns a few thousand rows are made
    together."""
    if isinstance(table, pa.Table):
        yield from _clips_of_columns(table)
        return
    paths = table["path"] if "path" in table else [None] * len(table)
    columns = (table[name] for name in _OF_CLIP[:-1])
    for name, video, start, end, label, split, path in zip(*columns, paths, strict=True):
        whole = math.isnan(start)
        yield Clip(name, video, None if whole else start, None if whole else end, label, split, path)


def _clips_of_columns(table: pa.Table) -> Iterator[Clip]:
    for begin in range(0, len(table), _ROWS_AT_ONCE):
        rows = table.slice(begin, _ROWS_AT_ONCE)
        columns = [rows[name].to_pylist() if name in rows.column_names else [None] * len(rows) for name in _OF_CLIP]
        yield from map(Clip, *columns)


@dataclass(frozen=True)
class ClipsOfTable:
    """The rows of a table as clips, made anew each time that they are asked for: never all of them are held."""

    table: pa.Table

    def __iter__(self) -> Iterator[Clip]:
        return clips_of(self.table)
