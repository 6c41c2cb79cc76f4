"""Rows that ask for the same segment: which counts, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinetics_pipeline.annotations.rows import Line, shown


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


@dataclass(slots=True)
class AskedRow:
    """A row with which nothing is wrong by itself."""

    number: int
    """Among the rows of all files."""
    clip_id: str
    video_id: str
    label: str | None
    split: str
    document: int
    file: str
    line: Line
    wrong: str | None = None


def compare(rows: Sequence[AskedRow]) -> tuple[list[int], list[Duplicate]]:
    """The places of the rows that ask for the segment of an earlier row, in their order, and the segments that two
    files ask for. Says in `wrong` what is wrong with a row, and gives the
    first the label that it lacks and a later one has."""
    first: dict[str, AskedRow] = {}
    first_in_file: dict[tuple[str, int], AskedRow] = {}
    again, again_in_file, duplicates = [], [], []
    for place, row in enumerate(rows):
        earlier = first.setdefault(row.clip_id, row)
        there = first_in_file.setdefault((row.clip_id, row.document), row)
        if earlier is row:
            continue
        again.append(place)
        if there is not row:
            again_in_file.append((row, there))
            continue
        row.wrong = _wrong_in_files(row, earlier)
        if row.wrong is None:
            duplicates.append(_duplicate(row, earlier))
    for row, there in again_in_file:
        row.wrong = _wrong_in_one_file(row, there)
    return again, duplicates


def _wrong_in_files(row: AskedRow, first: AskedRow) -> str | None:
    there = f"{first.file}:{first.line}"
    if (wrong := _contradiction(row, first, there)) is not None:
        return wrong
    if row.label != first.label and None not in (row.label, first.label):
        return _other_label(row, first, there)
    if first.label is None:
        first.label = row.label
    return None


def _wrong_in_one_file(row: AskedRow, first: AskedRow) -> str:
    there = f"line {first.line}"
    if (wrong := _contradiction(row, first, there)) is not None:
        return wrong
    if row.label != first.label:
        return _other_label(row, first, there)
    if row.split != first.split:
        return f"split {row.split}, but {first.split} for the same in {there}"
    return f"the same as {there}"


def _contradiction(row: AskedRow, first: AskedRow, there: str) -> str | None:
    if row.video_id == first.video_id:
        return None
    return f"clip id {row.clip_id} is already that of another video, {there}"


def _other_label(row: AskedRow, first: AskedRow, there: str) -> str:
    return f"label {shown(row.label)}, but {shown(first.label)} for the same in {there}"


def _duplicate(row: AskedRow, first: AskedRow) -> Duplicate:
    return Duplicate(
        clip_id=row.clip_id,
        file=row.file,
        line=row.line,
        split=row.split,
        first_file=first.file,
        first_line=first.line,
        first_split=first.split,
    )
