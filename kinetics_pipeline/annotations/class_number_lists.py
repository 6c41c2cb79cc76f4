"""The lists that mmaction2 and SlowFast train from, `tools export`'s included: `PATH CLASS_NUMBER` for videos,
`FOLDER FRAMES CLASS_NUMBER` for frames.

https://mmaction2.readthedocs.io/en/latest/user_guides/prepare_dataset.html and SlowFast's slowfast/datasets/DATASET.md.
The class's number becomes the row's label as text; with a labels file it means that line, counted from 0 (`checks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from kinetics_pipeline.annotations.rows import Reject, Row, names_file, shown
from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.redaction import counted

SAMPLE = 100
UNLABELLED = "-1"
"""What `tools export` writes for a clip without a label."""


def read_rows(cells: Iterable[tuple[int, list[str]]], reject: Reject) -> Iterator[Row]:
    """The rows of a list whose cells are separated by blanks; those that are none are rejected."""
    rows = iter(cells)
    sample = list(islice(rows, SAMPLE))
    frames = bool(sample) and all(_has_frames(row) for _, row in sample)
    timed = bool(sample) and not frames and all(_is_timed(row) for _, row in sample)
    for line, row in chain(sample, rows):
        if timed and len(row) > 2:
            yield Row(line, row[0], None, " ".join(row[3:]) or None, row[1], row[2], None)
            continue
        path, rest = row[0], row[1:]
        if len(rest) > 2 and all(map(_is_class, rest)):
            reject(
                line,
                f"{counted(len(rest) - 1, 'class number')} ({shown(' '.join(rest))}); "
                "allowed: FOLDER FRAMES CLASS_NUMBER",
            )
            continue
        if frames and len(rest) > 1 and _is_class(rest[-1]) and rest[-2].isdecimal():
            path, rest = " ".join(row[:-2]), row[-1:]
        elif len(rest) > 1 and not is_video(path) and _is_class(rest[-1]):
            path, rest = " ".join(row[:-1]), row[-1:]
        elif len(rest) > 1 and all(map(_is_class, rest)):
            reject(line, f"{counted(len(rest), 'class number')} ({shown(' '.join(rest))}); allowed: PATH CLASS_NUMBER")
            continue
        label = " ".join(rest)
        is_path = names_file(path) or " " in path
        name = None if label == UNLABELLED else label or None
        yield Row(line, None if is_path else path, path if is_path else None, name, None, None, None)


def _is_class(word: str) -> bool:
    return (word.isascii() and word.isdecimal()) or word == UNLABELLED


def _has_frames(row: list[str]) -> bool:
    return len(row) > 2 and _is_class(row[-1]) and row[-2].isdecimal() and not is_video(" ".join(row[:-2]))


def _is_timed(row: list[str]) -> bool:
    """Whether a row is `VIDEO_ID START END LABEL`, or (THUMOS) the same without a label and with decimals."""
    if len(row) < 3 or not all(word.replace(".", "", 1).isdecimal() for word in row[1:3]):
        return False
    return not _is_class(row[3]) if len(row) > 3 else all("." in word for word in row[1:3])
