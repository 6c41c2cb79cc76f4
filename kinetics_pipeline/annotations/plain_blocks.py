"""Many rows of a table with a header at once, column by column: where none of them is odd, which is nearly always."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kinetics_pipeline.annotations.clean_cells import cleaned_label
from kinetics_pipeline.annotations.rows import Rows, column_names
from kinetics_pipeline.records import VIDEO_ID


@dataclass(frozen=True)
class Header:
    """The columns of a table."""

    names: list[str]
    """The spelling is that of `column_names`."""
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    """Picks video, path, label, start, end and split out of a row with one more cell, which absent columns read."""
    either: bool
    """Whether the column of videos may name an id or a file."""
    timed: bool


def plain_rows(header: Header, lines: Sequence[int], rows: Sequence[list[str]]) -> Rows | None:
    """The rows, which begin at these lines, as columns; None where one of them may be odd, so that each is to be read
    by itself. Not odd: as many cells as the header, and a plain id in place of a path."""
    if len(rows) < 2 or {*map(len, rows)} != {len(header.names)}:
        return None
    initial = header.names[0][:1]
    if any(row[0][:1].lower() == initial and column_names(row) == header.names for row in rows):
        return None  # two files were joined
    absent = ("",) * len(rows)
    videos, paths, labels, starts, ends, splits = header.pick([*zip(*rows, strict=True), absent])
    if not all(map(VIDEO_ID.fullmatch, videos)) or any(paths) or (header.either and "." in "".join(videos)):
        return None
    starts, ends, splits = _stripped(starts), _stripped(ends), _stripped(splits)
    if header.timed and None in starts and None in ends:
        return None
    labels = _changed({label: cleaned_label(label.strip() or None) for label in set(labels)}, labels)
    none = (None,) * len(rows)
    return Rows((lines, videos, none, labels, starts, ends, splits, none, none))


def _stripped(cells: Sequence[str]) -> list[str | None]:
    return _changed({cell: cell.strip() or None for cell in set(cells)}, cells)


def _changed(known: dict[str, str | None], cells: Sequence[str]) -> list[str | None]:
    return list(map(known.__getitem__, cells))
