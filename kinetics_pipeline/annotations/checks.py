"""What is wrong with the rows of annotation files, and the table that the good ones make.

All rows of all files are checked at once, column by column, so that half a million take seconds.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from kinetics_pipeline.annotations.rows import CLOCK, NUMBER, BadRow, Line, shown
from kinetics_pipeline.file_names import OTHER_SUFFIXES, normalised
from kinetics_pipeline.records import SPLIT, VIDEO_ID, clip_id

SPLIT_NAMES = {"training": "train", "testing": "test"} | dict.fromkeys(("valid", "validate", "validation"), "val")
SPLIT_IN_NAME = re.compile(
    r"(?<![a-z])(training|train|validation|validate|valid|val|testing|test)(?:list|split|set)?(?![a-z])"
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_SECONDS = 10_000_000.0
"""The largest time allowed; no video is as long, so a larger number is a mistake."""
MAX_ID = 128
MAX_REASONS = 10_000
"""Bad rows that are told apart; more are only counted."""


@dataclass(frozen=True)
class Duplicate:
    """A segment that two files ask for: the first counts. Not an error, but a leak where the splits differ."""

    clip_id: str
    file: str
    line: Line
    split: str
    first_file: str
    first_line: Line
    first_split: str

    def __str__(self) -> str:
        leak = "" if self.split == self.first_split else f", there in {self.first_split} and here in {self.split}"
        return f"{self.file}:{self.line}: {self.clip_id} is asked for in {self.first_file}:{self.first_line}{leak}"


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

    def __init__(
        self,
        columns: list[list[Any]],
        document: np.ndarray,
        origins: Sequence[tuple[str, str]],
        labels: Sequence[str] | None,
    ) -> None:
        """`columns`: a list for each field of `Row`; they are taken out one by one, so that each is freed. `document`:
        of each row the number of its file in `origins`, which has each file's name and the split that the name says.
        `labels`: those allowed; None allows all."""
        read = tuple(_objects(columns.pop(0)) for _ in range(len(columns)))
        self.lines, self.videos, self.paths, self.labels, starts, ends, splits, self.lists, self.actions = read
        self.document, self.origins = document, origins
        self.wrong = np.full(len(document), None, dtype=object)
        self._reasons = 0
        self._check_names()
        self.starts, self.ends = self._times(starts, ends)
        self._check_labels(labels)
        self.splits = self._splits(splits)

    def bad_rows(self) -> tuple[list[tuple[int, BadRow]], int]:
        """The first `MAX_REASONS` bad rows, each with the number of its file; and how many there are."""
        bad = np.flatnonzero(self._is(self.wrong)).tolist()
        told = [(int(self.document[i]), BadRow(self._file(i), self.lines[i], self.wrong[i])) for i in bad[:MAX_REASONS]]
        return told, len(bad)

    def table(self) -> tuple[pd.DataFrame, list[Duplicate]]:
        """The good rows, a segment once; finds what is wrong between rows (to be called before `bad_rows`)."""
        good = np.flatnonzero(~self._is(self.wrong))
        _name_videos(self.videos, self.paths, good)
        cells = zip(self.videos[good], self.starts[good].tolist(), self.ends[good].tolist(), strict=True)
        named = [clip_id(video) if start != start else clip_id(video, start, end) for video, start, end in cells]
        ids = pd.Series(named, index=good, dtype=object)
        in_file = pd.DataFrame({"id": ids, "document": self.document[good]})
        again_in_file = in_file.duplicated()
        first_in_file = in_file[~again_in_file]
        duplicates = []
        again = first_in_file.index[first_in_file["id"].duplicated()]
        first = dict(zip(ids[::-1].tolist(), good[::-1].tolist(), strict=True)) if len(again) else {}
        for i in again:
            self._compare(i, first[ids[i]], ids[i], one_file=False)
            if self.wrong[i] is None:
                duplicates.append(self._duplicate(i, first[ids[i]], ids[i]))
        firsts = {(d, n): i for i, n, d in first_in_file.itertuples()} if again_in_file.any() else {}
        for i in good[again_in_file.to_numpy()].tolist():
            self._compare(i, firsts[self.document[i], ids[i]], ids[i], one_file=True)
        kept = ids.index[~ids.duplicated()]
        columns: dict[str, np.ndarray] = {
            "clip_id": ids[kept].to_numpy(),
            "video_id": self.videos[kept],
            "time_start": self.starts[kept],
            "time_end": self.ends[kept],
            "label": self.labels[kept],
            "split": self.splits[kept],
        }
        if self._is(self.paths[kept]).any():
            columns["path"] = self.paths[kept]
        for name, column in (("lists", self.lists), ("actions", self.actions)):
            if self._is(column[kept]).any():
                columns[name] = column[kept]
        # Series of objects, for pandas would make NaN of a None in its own strings.
        return pd.DataFrame(
            {name: pd.Series(column, dtype=column.dtype) for name, column in columns.items()}
        ), duplicates

    def _compare(self, i: int, first: int, name: str, *, one_file: bool) -> None:
        """Says what is wrong with row i, which asks for the clip of an earlier row; a label unknown there is taken."""
        there = f"line {self.lines[first]}" if one_file else f"{self._file(first)}:{self.lines[first]}"
        if self.videos[i] != self.videos[first]:
            self.wrong[i] = f"clip id {name} is already that of another video, {there}"
        elif self.labels[i] != self.labels[first] and (one_file or None not in (self.labels[i], self.labels[first])):
            self.wrong[i] = f"label {shown(self.labels[i])}, but {shown(self.labels[first])} for the same in {there}"
        elif one_file and self.splits[i] != self.splits[first]:
            self.wrong[i] = f"split {self.splits[i]}, but {self.splits[first]} for the same in {there}"
        elif one_file:
            self.wrong[i] = f"the same as {there}"
        elif self.labels[first] is None:
            self.labels[first] = self.labels[i]

    def _duplicate(self, i: int, first: int, name: str) -> Duplicate:
        return Duplicate(
            clip_id=name,
            file=self._file(i),
            line=self.lines[i],
            split=self.splits[i],
            first_file=self._file(first),
            first_line=self.lines[first],
            first_split=self.splits[first],
        )

    def _check_names(self) -> None:
        for i in np.flatnonzero(self._is(self.paths)).tolist():
            self.paths[i], reason = _relative(self.paths[i])
            self.wrong[i] = reason
        no_id = ~self._is(self.videos)
        self._reject(no_id & ~self._is(self.paths), lambda i: "no video id")
        match = VIDEO_ID.fullmatch
        fits = np.array([v is not None and match(v) is not None and v.strip(".") != "" for v in self.videos], bool)
        self._reject(
            ~no_id & ~fits,
            lambda i: f"video id {shown(self.videos[i])}; allowed: 1 to 128 of A-Z a-z 0-9 _ . -, and not dots alone",
        )

    def _times(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds, NaN where there are none, to the millisecond (what a clip_id can tell apart)."""
        start, start_wrong = _seconds(starts)
        end, end_wrong = _seconds(ends)
        for name, wrong in (("time_start", start_wrong), ("time_end", end_wrong)):
            self._reject(self._is(wrong), lambda i, n=name, w=wrong: f"{n} {w[i]}")  # type: ignore[misc]
        no_start, no_end = np.isnan(start), np.isnan(end)
        self._reject(no_start & ~no_end, lambda i: f"time_end {shown(ends[i])} without time_start")
        self._reject(no_end & ~no_start, lambda i: f"time_start {shown(starts[i])} without time_end")
        self._reject(end <= start, lambda i: f"time_end {shown(ends[i])} is not after time_start {shown(starts[i])}")
        return start, end

    def _check_labels(self, allowed: Sequence[str] | None) -> None:
        distinct = set(self.labels) - {None}
        if allowed is not None and distinct and not distinct <= set(allowed) and all(map(_is_class_number, distinct)):
            self._rename_labels({number: allowed[int(number)] for number in distinct if int(number) < len(allowed)})
        elif allowed is not None and not distinct <= set(allowed):
            forms = {normalised(label): label for label in allowed}
            outside = distinct - set(allowed)
            self._rename_labels({label: forms[normalised(label)] for label in outside if normalised(label) in forms})
        distinct = set(self.labels) - {None}
        unprintable = {label for label in distinct if CONTROL.search(label)}
        self._reject(_isin(self.labels, unprintable), lambda i: f"label {shown(self.labels[i])} has control characters")
        if allowed is not None:
            outside = distinct - set(allowed)
            self._reject(
                _isin(self.labels, outside),
                lambda i: (
                    f"label {shown(self.labels[i])} is none of the {len(allowed)} of the labels file, "
                    f"and no class number from 0 to {len(allowed) - 1}"
                ),
            )

    def _rename_labels(self, names: Mapping[str, str]) -> None:
        self.labels = _objects(names.get(label, label) for label in self.labels)

    def _splits(self, given: np.ndarray) -> np.ndarray:
        names = {split: normalised_split(split) for split in set(given) - {None}}
        wrong = {split for split, name in names.items() if not SPLIT.fullmatch(name) or len(name) > 64}
        allowed = "train, val, test or a name of a-z 0-9 _"
        self._reject(_isin(given, wrong), lambda i: f"split {shown(given[i])}; allowed: {allowed}")
        inferred = [self.origins[d][1] for d in self.document]
        return _objects(names[s] if s is not None else other for s, other in zip(given, inferred, strict=True))

    def _reject(self, mask: np.ndarray, reason: Callable[[int], str]) -> None:
        """Marks the rows of the mask as wrong, each with its first reason; only some reasons are worded."""
        for i in np.flatnonzero(mask).tolist():
            if self.wrong[i] is None:
                self._reasons += 1
                self.wrong[i] = reason(i) if self._reasons <= MAX_REASONS else "bad"

    def _file(self, i: int) -> str:
        return str(self.origins[self.document[i]][0])

    @staticmethod
    def _is(column: np.ndarray) -> np.ndarray:
        """Marks the rows where a column of objects is not None."""
        return np.array([cell is not None for cell in column], dtype=bool)


def _objects(values: Iterable[Any]) -> np.ndarray:
    values = values if isinstance(values, list) else list(values)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _isin(column: np.ndarray, values: Collection[str]) -> np.ndarray:
    return np.array([cell in values for cell in column], dtype=bool) if values else np.zeros(len(column), dtype=bool)


def _seconds(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 seconds (NaN for None), and what is wrong with each; every distinct cell is looked at once."""
    known: dict[str | float | None, tuple[float, str | None]] = {}
    for cell in cells:
        if cell not in known:
            known[cell] = _one_time(cell)
    read = [known[cell] for cell in cells]
    return np.array([time for time, _ in read], dtype=np.float64), _objects(wrong for _, wrong in read)


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


def _relative(path: str) -> tuple[str, str | None]:
    """A path within the folder of a source, without `.` and doubled slashes, and what is wrong with it."""
    if CONTROL.search(path) or "\\" in path or "://" in path:
        return path, f"path {shown(path)}; allowed: a relative path with forward slashes"
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return path, f"path {shown(path)} leaves the source's folder; allowed: a relative path without .."
    if not pure.name:
        return path, f"path {shown(path)} names no file"
    if pure.suffix.lower() in OTHER_SUFFIXES:
        return path, f"path {shown(path)} names a {pure.suffix.lower()} file, which is not a video"
    return str(pure), None


def _name_videos(videos: np.ndarray, paths: np.ndarray, good: np.ndarray) -> None:
    """Gives the rows that have only a path a video id: the file's stem, other characters replaced by `_`.

    Where two files, or a file and a row's own id, share that id, all the files get a hash of their
    path, so that a video is called the same in whatever order the
    rows come.
    """
    to_name = [i for i in good if videos[i] is None]
    if not to_name:
        return
    taken = {videos[i] for i in good if videos[i] is not None}
    stems = {path: re.sub(r"[^A-Za-z0-9_.-]", "_", PurePosixPath(path).stem) for path in {paths[i] for i in to_name}}
    shared: dict[str, int] = {}
    for stem in stems.values():
        shared[stem] = shared.get(stem, 0) + 1
    for path, stem in stems.items():
        if shared[stem] > 1 or stem in taken or len(stem) > MAX_ID or not stem.strip("."):
            digest = hashlib.sha256(path.encode()).hexdigest()[:10]
            stems[path] = f"{stem[: MAX_ID - 11]}-{digest}"
    for i in to_name:
        videos[i] = stems[paths[i]]
