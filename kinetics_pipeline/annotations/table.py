"""Annotation files -> a table of clips: what is asked, checked row by row.

The table is a DataFrame with the columns `clip_id`, `video_id`, `time_start`, `time_end` (float64, seconds to the
millisecond; NaN for a whole video), `label` (None for a clip without one), `split`, and `path` when rows name files.
`lists` and `actions` are there for datasets with several splits or several labels a clip: see `annotation_rows.Row`.
Rows stand in the order of the files. A `clip_id` appears once.

Times that a row leaves out ask for the whole video. Where a row names no split, the file's name does (`train`, `val`,
`test` or what they are also called); where that does not either, it is `train`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from kinetics_pipeline.annotations import charades
from kinetics_pipeline.annotations.checks import CheckedRows, Duplicate, split_in_name
from kinetics_pipeline.annotations.collected import Collected
from kinetics_pipeline.annotations.files import Document, open_annotations, read_text
from kinetics_pipeline.annotations.rows import BadRow, shown
from kinetics_pipeline.annotations.split_lists import open_lists, split_lists
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip

__all__ = ["Annotations", "BadRow", "Duplicate", "clips_of", "load_annotations", "read_annotations", "read_labels"]

OnBadRow = Literal["fail", "skip"]

SHOWN_ROWS = 10
MOST_CLASSES = 10_000
"""The largest class number for which all smaller ones are classes, too."""


@dataclass(frozen=True)
class Annotations:
    """What annotation files ask for, and what is wrong with them."""

    table: pd.DataFrame
    labels: list[str]
    """The classes in order of their numbers: the list given, else the sorted labels of the table."""
    bad_rows: list[BadRow]
    """The first of them, at least ten thousand where there are more."""
    bad_count: int
    duplicates: list[Duplicate]
    hashes: dict[str, str]
    """SHA-256 of each file given, by its name."""


def read_annotations(
    path: str | Path, *, labels: Sequence[str] | None = None, on_bad_row: OnBadRow = "fail"
) -> pd.DataFrame:
    """The table of clips of one annotation file or URL; see `load_annotations`."""
    return load_annotations([path], labels=labels, on_bad_row=on_bad_row).table


def load_annotations(
    paths: Sequence[str | Path], *, labels: Sequence[str] | None = None, on_bad_row: OnBadRow = "fail"
) -> Annotations:
    """Reads annotation files or http(s) URLs: tables, JSON, gzipped, or inside a zip or tar.

    `labels`: the classes allowed, in order. `on_bad_row="skip"` leaves bad rows out and lists them in the result.
    Raises UserError: for a file that cannot be read (one line), for bad rows unless they are skipped (their number,
    and the first ten a line each), and when no good row is left.
    """
    if on_bad_row not in get_args(OnBadRow):
        raise UserError(f"on_bad_row is {on_bad_row!r}; allowed: {', '.join(get_args(OnBadRow))}")
    if not paths:
        raise UserError("no annotation file given")
    read = Collected()
    hashes: dict[str, str] = {}
    lists: list[Document] = []  # read together: each says one of the splits of the same clips
    for path in paths:
        opened = open_lists(Path(path)) if Path(path).is_dir() else open_annotations(path)
        name = _unused(opened.name, hashes)
        hashes[name] = opened.sha256
        of_splits, others = split_lists(opened.documents)
        lists += of_splits
        for document in others:
            read.add(document, name + document.name.removeprefix(opened.name), split_in_name(document.name))
    if lists:
        read.add_split_lists(lists)
    checked = CheckedRows(read.columns, np.array(read.document, dtype=np.intp), read.origins, labels)
    table, duplicates = checked.table()
    wrong, wrong_count = checked.bad_rows()
    bad_rows, bad_count = _in_order(read.bad + wrong), read.bad_count + wrong_count
    if bad_rows and on_bad_row == "fail":
        raise UserError(_told(bad_rows, bad_count, len(read.document) + read.bad_count))
    if table.empty:
        raise UserError(f"{', '.join(hashes)}: no usable row; the first is bad: {bad_rows[0]}")
    classes = list(labels) if labels is not None else _classes(table, numbered=read.numbered)
    return Annotations(table, classes, bad_rows, bad_count, duplicates, hashes)


def read_labels(path: str | Path) -> list[str]:
    """A class list, one name a line, in order of their numbers. Blank lines are nothing. Raises UserError."""
    path = Path(path)
    labels: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "labels file").splitlines(), start=1):
        label = line.strip()
        if label in labels:
            raise UserError(f"labels file {path}: line {number} repeats {shown(label)} of line {labels[label]}")
        if label:
            labels[label] = number
    if not labels:
        raise UserError(f"labels file {path} has no labels; it needs one a line")
    return list(labels)


def clips_of(table: pd.DataFrame) -> Iterator[Clip]:
    """The rows of a table as clips, NaN times as None."""
    paths = table["path"] if "path" in table else [None] * len(table)
    columns = (table[name] for name in ("clip_id", "video_id", "time_start", "time_end", "label", "split"))
    for name, video, start, end, label, split, path in zip(*columns, paths, strict=True):
        whole = math.isnan(start)
        yield Clip(name, video, None if whole else start, None if whole else end, label, split, path)


def _classes(table: pd.DataFrame, *, numbered: bool) -> list[str]:
    """The sorted labels. Where these are the class numbers of a list, all numbers up to the largest, so that each
    class keeps its number."""
    labels = (set(table["label"]) - {None}) | _action_labels(table)
    if numbered and labels and all(re.fullmatch("0|[1-9][0-9]{0,8}", label) for label in labels):
        largest = max(map(int, labels))
        return [str(number) for number in range(largest + 1)] if largest < MOST_CLASSES else sorted(labels, key=int)
    return sorted(labels)


def _action_labels(table: pd.DataFrame) -> set[str]:
    if "actions" not in table:
        return set()
    return {action.label for text in table["actions"] if text for action in charades.parse_actions(text)}


def _unused(name: str, taken: Container[str]) -> str:
    """Two files of one name stay apart: `train.csv`, `train.csv (2)`."""
    return next(n for k in count(1) if (n := name if k == 1 else f"{name} ({k})") not in taken)


def _in_order(bad: list[tuple[int, BadRow]]) -> list[BadRow]:
    """By document, then by line; keys of a JSON object keep the order in which they were found bad."""
    return [row for _, row in sorted(bad, key=lambda b: (b[0], b[1].line if isinstance(b[1].line, int) else 0))]


def _told(bad: list[BadRow], count: int, rows: int) -> str:
    lines = [f"{count} of {rows} rows are bad; correct them, or leave them out with --on-bad-row skip:"]
    lines += [f"  {row}" for row in bad[:SHOWN_ROWS]]
    if count > SHOWN_ROWS:
        lines.append(f"  ... and {count - SHOWN_ROWS} more")
    return "\n".join(lines)
