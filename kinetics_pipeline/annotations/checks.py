"""What is wrong with the rows of annotation files, and the table that the good ones make.

All rows of all files are checked at once, column by column, so that half a million take seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kinetics_pipeline.annotations.duplicates import AskedRow, Duplicate, compare
from kinetics_pipeline.annotations.gathered import MAX_REASONS, GatheredRows
from kinetics_pipeline.annotations.rows import CLOCK, CONTROL, NUMBER, BadRow, shown
from kinetics_pipeline.annotations.video_names import with_names
from kinetics_pipeline.file_names import normalised
from kinetics_pipeline.records import SPLIT, clip_ids, perhaps_repeated

SPLIT_NAMES = {"training": "train", "testing": "test"} | dict.fromkeys(("valid", "validate", "validation"), "val")
SPLIT_IN_NAME = re.compile(
    r"(?<![a-z])(training|train|validation|validate|valid|val|testing|test)(?:list|split|set)?(?![a-z])"
)
MAX_SECONDS = 10_000_000.0
"""The largest time allowed; no video is as long, so a larger number is a mistake."""


@dataclass(frozen=True)
class Origin:
    """A file whose rows follow each other."""

    name: str
    split: str
    """What its name says, else what is taken where neither row nor file says one."""
    first: int
    """The number of its first row among those of all files."""


def normalised_split(name: str) -> str:
    """`val` for validate, validation, ...; lower case. Not checked: what is not a split's name stays as it is."""
    lower = name.strip().lower()
    return SPLIT_NAMES.get(lower, lower)


def split_in_name(name: str) -> str | None:
    """The split that the last part of a file's path says; None when no part says one."""
    for part in reversed(name.lower().split("/")):
        if found := SPLIT_IN_NAME.findall(part):
            return normalised_split(found[-1])
    return None


class CheckedRows:
    """Rows of all files as columns, and for each the first thing that is wrong with it (None: nothing)."""

    def __init__(self, rows: GatheredRows, origins: Sequence[Origin], labels: Sequence[str] | None) -> None:
        """`labels`: those allowed; None allows all."""
        self._rows, self._origins = rows, origins
        self._bad = np.zeros(len(rows), bool)
        self._bad[np.asarray(rows.nameless, np.int64)] = True
        self._wrong = dict(rows.wrong)
        self.starts, self.ends = self._times(rows.few("time_start"), rows.few("time_end"))
        self.labels = rows.few("label").copy()
        self._check_labels(labels)
        self._split_names: list[str] = []
        self.splits = self._splits(rows.few("split"))

    def bad_rows(self) -> tuple[list[tuple[int, BadRow]], int]:
        """The first `MAX_REASONS` bad rows, each with the number of its file; and how many there are."""
        bad = np.flatnonzero(self._bad)
        told = bad[:MAX_REASONS]
        numbers = zip(told.tolist(), self._documents(told).tolist(), strict=True)
        rows = [(d, BadRow(self._origins[d].name, self._rows.line(row), self._wrong[row])) for row, d in numbers]
        return rows, len(bad)

    def table(self) -> tuple[pa.Table, list[Duplicate]]:
        """The good rows, a segment once, as `Annotations.columns`; finds what is wrong between rows (to be called
        before `bad_rows`)."""
        good = np.flatnonzero(~self._bad)
        videos, paths, lists, actions = (self._texts(field, good) for field in ("video_id", "path", "lists", "actions"))
        videos = pa.nulls(len(good), pa.string()) if videos is None else videos
        videos = videos if paths is None else with_names(videos, paths)
        ids = clip_ids(videos, self.starts[good], self.ends[good])
        again, duplicates = self._compared(good, ids, videos)
        kept = np.delete(np.arange(len(good)), again) if len(again) else slice(None)
        rows = good[kept]

        def of_kept(column: pa.Array) -> pa.Array:
            return column.take(pa.array(kept)) if len(again) else column

        columns = {"clip_id": of_kept(ids), "video_id": of_kept(videos)}
        columns |= {"time_start": _seconds_or_null(self.starts[rows]), "time_end": _seconds_or_null(self.ends[rows])}
        columns |= {"label": _encoded(self.labels[rows], self._rows.values)}
        columns |= {"split": _encoded(self.splits[rows], self._split_names)}
        for name, column in (("path", paths), ("lists", lists), ("actions", actions)):
            if column is not None and of_kept(column).null_count < len(rows):
                columns[name] = of_kept(column)
        return pa.table(columns), duplicates

    def _compared(self, good: np.ndarray, ids: pa.Array, videos: pa.Array) -> tuple[np.ndarray, list[Duplicate]]:
        """Which of the good rows ask for a segment that another asks for earlier; and those that are in two files."""
        places = perhaps_repeated(ids)
        rows, chosen = good[places], pa.array(places)
        values = self._rows.values
        columns = (
            rows.tolist(),
            ids.take(chosen).to_pylist(),
            videos.take(chosen).to_pylist(),
            [values[place] for place in self.labels[rows]],
            [self._split_names[place] for place in self.splits[rows]],
            self._documents(rows).tolist(),
        )
        asked = [
            AskedRow(number, clip, video, label, split, document, self._origins[document].name, self._rows.line(number))
            for number, clip, video, label, split, document in zip(*columns, strict=True)
        ]
        again, duplicates = compare(asked)
        told = 0
        for row in asked:
            self.labels[row.number] = self._rows.place(row.label)
            if row.wrong is not None:
                self._bad[row.number] = True
                told += 1
                if told <= MAX_REASONS:
                    self._wrong[row.number] = row.wrong
        return places[again], duplicates

    def _times(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds, NaN where there are none, to the millisecond (what a clip_id can tell apart)."""
        values = self._rows.values
        seconds, wrong = np.full(len(values), math.nan), dict[int, str]()
        for place in np.union1d(np.unique(starts), np.unique(ends)).tolist():
            seconds[place], reason = _one_time(values[place])
            if reason is not None:
                wrong[place] = reason
        for name, column in (("time_start", starts), ("time_end", ends)):
            self._reject(_isin(column, wrong), lambda i, n=name, c=column: f"{n} {wrong[c[i]]}")  # type: ignore[misc]
        start, end = seconds[starts], seconds[ends]
        no_start, no_end = np.isnan(start), np.isnan(end)
        self._reject(no_start & ~no_end, lambda i: f"time_end {shown(values[ends[i]])} without time_start")
        self._reject(no_end & ~no_start, lambda i: f"time_start {shown(values[starts[i]])} without time_end")
        self._reject(
            end <= start,
            lambda i: f"time_end {shown(values[ends[i]])} is not after time_start {shown(values[starts[i]])}",
        )
        return start, end

    def _check_labels(self, allowed: Sequence[str] | None) -> None:
        distinct = self._distinct_labels()
        if allowed is not None and distinct and not distinct <= set(allowed) and all(map(_is_class_number, distinct)):
            self._rename_labels({number: allowed[int(number)] for number in distinct if int(number) < len(allowed)})
        elif allowed is not None and not distinct <= set(allowed):
            forms = {normalised(label): label for label in allowed}
            outside = distinct - set(allowed)
            self._rename_labels({label: forms[normalised(label)] for label in outside if normalised(label) in forms})
        distinct = self._distinct_labels()
        unprintable = {label for label in distinct if CONTROL.search(label)}
        self._reject(self._have(unprintable), lambda i: f"label {shown(self._label(i))} has control characters")
        if allowed is not None:
            self._reject(
                self._have(distinct - set(allowed)),
                lambda i: (
                    f"label {shown(self._label(i))} is none of the {len(allowed)} of the labels file, "
                    f"and no class number from 0 to {len(allowed) - 1}"
                ),
            )

    def _distinct_labels(self) -> set[str]:
        return {self._rows.values[place] for place in np.unique(self.labels)} - {None}

    def _rename_labels(self, names: Mapping[str, str]) -> None:
        different, places = np.unique(self.labels, return_inverse=True)
        labels = [self._rows.values[place] for place in different]
        new = [self._rows.place(names.get(label, label)) for label in labels]
        self.labels = np.array(new, np.int32)[places]

    def _have(self, labels: Collection[str]) -> np.ndarray:
        return _isin(self.labels, [self._rows.place(label) for label in labels])

    def _label(self, row: int) -> Any:
        return self._rows.values[self.labels[row]]

    def _splits(self, given: np.ndarray) -> np.ndarray:
        """int32 [N]: where the split of each row is in `_split_names`."""
        values, places = self._rows.values, np.unique(given)
        names = {int(place): normalised_split(values[place]) for place in places if values[place] is not None}
        wrong = [place for place, name in names.items() if not SPLIT.fullmatch(name) or len(name) > 64]
        allowed = "train, val, test or a name of a-z 0-9 _"
        self._reject(_isin(given, wrong), lambda i: f"split {shown(values[given[i]])}; allowed: {allowed}")
        self._split_names = sorted({*names.values(), *(origin.split for origin in self._origins)})
        number = {name: place for place, name in enumerate(self._split_names)}
        of_place = np.zeros(len(values), np.int32)
        of_place[list(names)] = [number[name] for name in names.values()]
        splits: np.ndarray = of_place[given]
        ends = [*(origin.first for origin in self._origins[1:]), len(given)]
        for origin, end in zip(self._origins, ends, strict=True):
            splits[origin.first : end][given[origin.first : end] == 0] = number[origin.split]
        return splits

    def _reject(self, mask: np.ndarray, reason: Callable[[int], str]) -> None:
        """Marks the rows of the mask as wrong, each with its first reason; only some reasons are worded."""
        rows = np.flatnonzero(mask & ~self._bad)
        self._wrong |= {row: reason(row) for row in rows[:MAX_REASONS].tolist()}
        self._bad[rows] = True

    def _documents(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the files that these rows stand in."""
        firsts = np.array([origin.first for origin in self._origins])
        found: np.ndarray = np.searchsorted(firsts, rows, side="right") - 1
        return found

    def _texts(self, field: str, rows: np.ndarray) -> pa.Array | None:
        texts = self._rows.texts(field)
        return texts if texts is None or len(rows) == len(texts) else texts.take(pa.array(rows))


def _seconds_or_null(times: np.ndarray) -> pa.Array:
    missing = np.isnan(times)
    return pa.array(times, mask=missing if missing.any() else None)


def _encoded(places: np.ndarray, values: Sequence[str | None]) -> pa.DictionaryArray:
    """Texts of which a row has the place, as a dictionary of those that some row has."""
    different, numbers = np.unique(places, return_inverse=True)
    texts = [values[place] for place in different]
    if None in texts:
        without = texts.index(None)
        texts.pop(without)
        numbers = np.where(numbers == without, -1, numbers - (numbers > without))
    mask = numbers < 0
    indices = pa.array(numbers.astype(np.int32), mask=mask if mask.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


def _isin(column: np.ndarray, places: Collection[int]) -> np.ndarray:
    return np.isin(column, list(places)) if places else np.zeros(len(column), bool)


def _one_time(cell: str | float | None) -> tuple[float, str | None]:
    if cell is None:
        return math.nan, None
    if isinstance(cell, str) and (clock := CLOCK.fullmatch(cell)):
        cell = 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
    try:
        time = float(cell)
    except (ValueError, OverflowError):
        return 0.0, f"is {shown(cell)}, not a number of seconds"
    if not math.isfinite(time):
        return 0.0, f"is {shown(cell)}, not a finite number"
    if isinstance(cell, str) and not NUMBER.fullmatch(cell):  # what only Python reads as a number: 1_0, Arabic digits
        return 0.0, f"is {shown(cell)}, not a number of seconds"
    if not 0 <= time <= MAX_SECONDS:
        return 0.0, f"is {shown(cell)}; allowed: 0 to {MAX_SECONDS:.0f} seconds"
    return round(time * 1000) / 1000, None


def _is_class_number(label: str) -> bool:
    return label.isascii() and label.isdecimal() and len(label) <= 6
