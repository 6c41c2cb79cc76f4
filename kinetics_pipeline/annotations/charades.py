"""Charades' annotations (Sigurdsson et al., "Hollywood in Homes", ECCV 2016): actions of a video, each in its time.

`Charades_v1_train.csv` has columns id, subject, ..., actions, length; the actions are `c092 11.90 21.20;c147 0.00
12.60`, seconds of the whole video.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.annotations.rows import Reject, Row
from kinetics_pipeline.redaction import counted

_ID, _ACTIONS = "id", "actions"


@dataclass(frozen=True)
class Action:
    """A label and its time, in seconds of the video."""

    label: str
    start: float
    end: float


def is_header(cells: Sequence[str]) -> bool:
    """Whether a CSV file's first row is that of Charades."""
    names = {cell.strip().lower() for cell in cells}
    return {_ID, _ACTIONS} <= names


def read_rows(header: Sequence[str], cells: Iterable[tuple[int, list[str]]], reject: Reject) -> Iterator[Row]:
    """The rows after the header. A video in which nothing happens has no actions, and is in the dataset as well."""
    video, actions = header.index(_ID), header.index(_ACTIONS)
    for line, row in cells:
        if len(row) != len(header):
            reject(line, f"{counted(len(row), 'cell')} where the header has {len(header)}")
            continue
        text = row[actions].strip()
        try:
            parse_actions(text)
        except ValueError as error:
            reject(line, str(error))
            continue
        yield Row(line, row[video].strip(), None, None, None, None, None, None, text)


def parse_actions(text: str) -> tuple[Action, ...]:
    """The actions in `label start end;...`. Raises ValueError that names the part that is not an action."""
    found = []
    for part in filter(None, (one.strip() for one in text.split(";"))):
        words = part.split()
        numbers = [_number(word) for word in words[1:]]
        if len(words) != 3 or None in numbers or not re.fullmatch(r"[\w-]{1,64}", words[0]):
            raise ValueError(f"action {part[:60]!r}; allowed: LABEL START END, as c092 11.90 21.20")
        start, end = (number for number in numbers if number is not None)
        if not 0 <= start <= end:
            raise ValueError(f"action {part[:60]!r} ends before it begins")
        found.append(Action(words[0], start, end))
    return tuple(found)


def targets(actions: Sequence[Action], classes: Sequence[str], frames: int, fps: float) -> NDArray[np.float32]:
    """[classes, frames]: 1 where the class's action is going on at a frame's time, both ends counted; else 0.

    Raises ValueError for a label that is not a class.
    """
    where = {label: number for number, label in enumerate(classes)}
    times = np.arange(frames) / fps
    marked = np.zeros((len(classes), frames), np.float32)
    for action in actions:
        if action.label not in where:
            raise ValueError(f"action {action.label!r} is none of the {len(classes)} classes")
        marked[where[action.label], (times >= action.start) & (times <= action.end)] = 1
    return marked


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
