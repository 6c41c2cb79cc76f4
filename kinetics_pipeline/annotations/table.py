"""Annotation files -> a table of clips: what is asked, checked row by row.

The table is a DataFrame with the columns `clip_id`, `video_id`, `time_start`, `time_end` (float64, seconds to the
millisecond; NaN for a whole video), `label` (None for a clip without one), `split`, and `path` when rows name files.
`lists` and `actions` are there for datasets with several splits or several labels a clip: see `rows.Row`.
Rows stand in the order of the files. A `clip_id` appears once.

Times that a row leaves out ask for the whole video. Where a row names no split, the file's name does (`train`, `val`,
`test` or what they are also called); where that does not either, it is `train`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.annotations import charades
from kinetics_pipeline.annotations.checks import CheckedRows
from kinetics_pipeline.annotations.class_folders import read_class_folders
from kinetics_pipeline.annotations.collected import Collected
from kinetics_pipeline.annotations.columns import as_frame, as_texts, clips_of, rows_with
from kinetics_pipeline.annotations.duplicates import Duplicate
from kinetics_pipeline.annotations.files import Document, open_annotations, read_text
from kinetics_pipeline.annotations.published import fetch_published, is_published
from kinetics_pipeline.annotations.rows import BadRow, shown
from kinetics_pipeline.annotations.split_by import split_of
from kinetics_pipeline.annotations.split_lists import open_lists, split_lists
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.cache import cache_folder

# Imported where a DataFrame is made: it takes most of a second of a process's start.
if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Annotations", "BadRow", "Duplicate", "clips_of", "load_annotations", "read_annotations", "read_labels"]

OnBadRow = Literal["fail", "skip"]

SHOWN_ROWS = 10
UNKNOWN_SPLIT = ""
"""Stands for a split that is still to be found out."""
log = logging.getLogger(__name__)
MOST_CLASSES = 10_000
"""The largest class number for which all smaller ones are classes, too."""


@dataclass(frozen=True)
class Annotations:
    """What annotation files ask for, and what is wrong with them."""

    columns: pa.Table
    """What the module's docstring says of a table, as Arrow columns (`as_columns`)."""
    labels: list[str]
    """The classes in order of their numbers: the list given, else the sorted labels of the table."""
    bad_rows: list[BadRow]
    """The first of them, at least ten thousand where there are more."""
    bad_count: int
    duplicates: list[Duplicate]
    hashes: dict[str, str]
    """SHA-256 of each file given, by its name; of a folder of class folders that of the paths in it."""
    folders: tuple[Path, ...] = ()
    """The folders of class folders: their videos lie there, too."""
    published: tuple[str, ...] = ()
    """The versions of Kinetics that were asked for by name."""

    @property
    def table(self) -> pd.DataFrame:
        """The same as a DataFrame, made anew each time: it takes three times the memory."""
        return as_frame(self.columns)

    def only(self, clip_ids: Container[str]) -> Annotations:
        """These annotations with fewer clips; the classes stay."""
        keep = pa.array([clip in clip_ids for clip in self.columns["clip_id"].to_pylist()], pa.bool_())
        return replace(self, columns=self.columns.filter(keep))

    def changed_since(self, before: Mapping[str, str]) -> list[str]:
        """A line for each file that is not the one of this name with which a dataset was begun (`before`: its
        SHA-256 by name)."""
        return [
            f"{name} is another file than the one the dataset was begun with: SHA-256 {digest[:12]}..., then "
            f"{before[name][:12]}..."
            for name, digest in self.hashes.items()
            if before.get(name, digest) != digest
        ]


def read_annotations(
    path: str | Path, *, labels: Sequence[str] | None = None, on_bad_row: OnBadRow = "fail"
) -> pd.DataFrame:
    """The clips of one annotation file, URL, folder of class folders or published name, a row each.

    Columns: `clip_id`, `video_id`, `time_start` and `time_end` (seconds of the video, NaN for a whole video), `label`
    (None for none or several), `split`. `labels` and `on_bad_row` as in `load_annotations`. Raises UserError for a file
    that cannot be read, and for a bad row, named by its line.
    """
    return load_annotations([path], labels=labels, on_bad_row=on_bad_row).table


def load_annotations(
    paths: Sequence[str | Path],
    *,
    labels: Sequence[str] | None = None,
    on_bad_row: OnBadRow = "fail",
    split_by: Sequence[float] | None = None,
    mirror: str | None = None,
    cache: Path | None = None,
) -> Annotations:
    """Reads annotation files or http(s) URLs (tables, JSON, gzipped, or inside a zip or tar), folders of class folders,
    and Kinetics by name (`published.PUBLISHED`).

    `labels`: the classes allowed, in order. `on_bad_row="skip"` leaves bad rows out and lists them in the result.
    `split_by`: shares of train, val and maybe test, among which clips without a split are shared out by video.
    `mirror`: the base address of a public copy of one's own, for names. `cache`: where files fetched by name are kept.
    Raises UserError: for a file that cannot be read (one line), for bad rows unless they are skipped (their number,
    and the first ten a line each), and when no good row is left.
    """
    if on_bad_row not in get_args(OnBadRow):
        raise UserError(f"on_bad_row is {on_bad_row!r}; allowed: {', '.join(get_args(OnBadRow))}")
    if not paths:
        raise UserError("no annotation file given")
    read = Collected(UNKNOWN_SPLIT if split_by is not None else "train")
    hashes, folders = _read_all(_files(paths, mirror, cache), read)
    read.name_classes(labels)
    checked = CheckedRows(read.rows, read.origins, labels)
    table, duplicates = checked.table()
    wrong, wrong_count = checked.bad_rows()
    bad_rows, bad_count = _in_order(read.bad + wrong), read.bad_count + wrong_count
    if bad_rows and on_bad_row == "fail":
        raise UserError(*_told(bad_rows, bad_count, len(read.rows) + read.bad_count))
    if not len(table):
        raise UserError(f"{', '.join(hashes)}: no usable row; the first is bad: {bad_rows[0]}")
    if split_by is not None:
        table = _shared_out(table, split_by)
    published = tuple(str(path) for path in paths if is_published(str(path)))
    classes = list(labels) if labels is not None else _classes(table, numbered=read.numbered)
    return Annotations(table, classes, bad_rows, bad_count, duplicates, hashes, folders, published)


def _files(paths: Sequence[str | Path], mirror: str | None, cache: Path | None) -> Iterator[str | Path]:
    """The files that names of Kinetics stand for, and everything else as it is."""
    for path in paths:
        if is_published(str(path)):
            yield from fetch_published(str(path), mirror, cache_folder(cache), log.warning)
        else:
            yield path


def _read_all(paths: Iterable[str | Path], read: Collected) -> tuple[dict[str, str], tuple[Path, ...]]:
    """The SHA-256 of each file by its name, and which of the paths are folders of class folders."""
    hashes: dict[str, str] = {}
    folders: list[Path] = []
    lists: list[Document] = []  # read together: each says one of the splits of the same clips
    for path in paths:
        is_folder = Path(path).is_dir()
        opened = open_lists(Path(path)) if is_folder else open_annotations(path)
        if opened is None:
            found = read_class_folders(Path(path))
            name = _unused(found.name, hashes)
            hashes[name] = found.sha256
            read.add_class_folders(name, found)
            folders.append(Path(path))
            if found.passed_over:
                log.warning("%d videos of %s lie in no class folder and are left out", found.passed_over, path)
            continue
        name = _unused(opened.name, hashes)
        hashes[name] = opened.sha256
        of_splits, others = split_lists(opened.documents)
        lists += of_splits
        for document in others:
            read.add(document, name + document.name.removeprefix(opened.name))
    if lists:
        read.add_split_lists(lists)
    return hashes, tuple(folders)


def _shared_out(table: pa.Table, shares: Sequence[float]) -> pa.Table:
    """Gives each clip without a split one of those that the shares stand for."""
    unknown = rows_with(table["split"], {UNKNOWN_SPLIT})
    if not pc.any(unknown).as_py():
        raise UserError("--split-by is given, but every clip has a split already; leave it out")
    videos = table["video_id"].filter(unknown).to_pylist()
    splits = table["split"].cast(pa.string()).combine_chunks()
    splits = pc.replace_with_mask(splits, unknown, pa.array([split_of(video, shares) for video in videos], pa.string()))
    return table.set_column(table.column_names.index("split"), "split", as_texts(splits))


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


def _classes(table: pa.Table, *, numbered: bool) -> list[str]:
    """The sorted labels. Where these are the class numbers of a list, all numbers up to the largest, so that each
    class keeps its number."""
    labels = (set(table["label"].unique().to_pylist()) - {None}) | _action_labels(table)
    if numbered and labels and all(re.fullmatch("0|[1-9][0-9]{0,8}", label) for label in labels):
        largest = max(map(int, labels))
        return [str(number) for number in range(largest + 1)] if largest < MOST_CLASSES else sorted(labels, key=int)
    return sorted(labels)


def _action_labels(table: pa.Table) -> set[str]:
    if "actions" not in table.column_names:
        return set()
    texts = table["actions"].to_pylist()
    return {action.label for text in texts if text for action in charades.parse_actions(text)}


def _unused(name: str, taken: Container[str]) -> str:
    """Two files of one name stay apart: `train.csv`, `train.csv (2)`."""
    return next(n for k in count(1) if (n := name if k == 1 else f"{name} ({k})") not in taken)


def _in_order(bad: list[tuple[int, BadRow]]) -> list[BadRow]:
    """Sorts bad rows by document, then by line; keys of a JSON object keep the order in which they were found."""
    return [row for _, row in sorted(bad, key=lambda b: (b[0], b[1].line if isinstance(b[1].line, int) else 0))]


def _told(bad: list[BadRow], count: int, rows: int) -> list[str]:
    lines = [f"{count} of {rows} rows are bad; correct them, or leave them out with --on-bad-row skip:"]
    lines += [f"  {row}" for row in bad[:SHOWN_ROWS]]
    if count > SHOWN_ROWS:
        lines.append(f"  ... and {count - SHOWN_ROWS} more")
    return lines
