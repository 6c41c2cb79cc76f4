"""What a row of an annotation file is, before it is checked, and how columns and cells are told apart by their names.

What a row means is decided in `text_tables`, `class_number_lists` and `json_rows`; whether it is right, in `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.records import VIDEO_ID

Line = int | str
"""A row's line in its file, from 1; of a JSON object the key; of a JSON list the number of the item, from 1."""
Reject = Callable[[Line, str], None]
"""Called with the line and the reason of a row that cannot be used."""

ID_COLUMNS = ("youtube_id", "video_id", "id")
EITHER_COLUMNS = ("video_id", "id", "video", "video_name")
"""Columns that may name an id or a file."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "video": (*ID_COLUMNS, "video", "video_name", "ytid", "yt_id", "url", "link", "youtube_url", "video_url"),
    "path": ("path", "video_path", "file", "filename", "file_name", "file_path", "filepath", "relative_path"),
    "label": ("label", "class", "action", "class_name", "label_name", "category", "labels"),
    "time_start": ("time_start", "start", "start_time", "t_start", "start_seconds", "start_sec", "start_timestamp"),
    "time_end": ("time_end", "end", "end_time", "t_end", "end_seconds", "end_sec", "stop_timestamp", "stop"),
    "split": ("split", "subset"),
}
"""What each column may be called, in any case; the first that a file has is read."""
_WITHOUT_LINES = {name.replace("_", ""): name for names in COLUMNS.values() for name in names}
"""The same names as `youtubeId` and `startTime` have them, in lower case."""
_TIME_OF_ANOTHER_UNIT = re.compile(r"(?:start|begin|stop)\w*|(?:\w+_)?(?:start|begin|end|stop)(?:_\w+)?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
DECIMAL_COMMA = re.compile(r"\d+,\d+", re.ASCII)
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):([0-5]\d(?:\.\d*)?)", re.ASCII)
"""Hours, minutes and seconds, as in 00:01:02.5; the hours may be left out."""


class Row(NamedTuple):
    """Cells as the file has them: text, a JSON number, or None where there is none."""

    line: Line
    video_id: str | None
    path: str | None
    label: str | None
    time_start: str | float | None
    time_end: str | float | None
    split: str | None
    lists: str | None = None
    """Names of the lists that a clip is on, as `train1 test2 train3`: UCF-101 and HMDB-51 split their clips thrice."""
    actions: str | None = None
    """`label start end;...`: of a clip with several labels, each in its own time."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why."""

    file: str
    line: Line
    reason: str

    def __str__(self) -> str:
        line = self.line if isinstance(self.line, int) or self.line.isprintable() else shown(self.line)
        return f"{self.file}:{line}: {self.reason}"


def shown(value: object) -> str:
    """A value from a file, quoted for a message: escaped, so that it cannot act on a terminal, and not endless."""
    text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def names_file(cell: str) -> bool:
    """Whether a cell that may hold an id or a path holds a path: it has a slash, ends like a video file, or ends like
    a file and cannot be an id."""
    if "/" in cell or is_video(cell):
        return True
    suffix = re.fullmatch(r"\.[A-Za-z]\w{0,4}", PurePosixPath(cell).suffix)
    return suffix is not None and VIDEO_ID.fullmatch(cell) is None


def is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell) is not None


def is_time(cell: str) -> bool:
    """Whether a cell is a number or the time of a clock; where the comma does not separate cells it may be decimal."""
    return is_number(cell) or DECIMAL_COMMA.fullmatch(cell) is not None or CLOCK.fullmatch(cell) is not None


def column_names(cells: Sequence[str]) -> list[str]:
    """What a header calls its columns, spelt as in `COLUMNS`."""
    plain = [re.sub(r"[\s-]+", "_", cell.strip("\ufeff \t\r\n").lower()) for cell in cells]
    return [_WITHOUT_LINES.get(name.replace("_", ""), name) for name in plain]


def unread_time(names: Iterable[str]) -> str | None:
    """The name among those of columns that speaks of a start or an end and is not one of `COLUMNS`: milliseconds or
    frames, say. Without this, whole videos would be asked for."""
    known = {*COLUMNS["time_start"], *COLUMNS["time_end"]}
    return next((name for name in names if name not in known and _TIME_OF_ANOTHER_UNIT.fullmatch(name)), None)


def is_header(names: Sequence[str]) -> bool:
    """Whether a first row names columns: one that names the video, or two others (a header that lacks the video)."""
    found = {field for field, allowed in COLUMNS.items() for name in allowed if name in names}
    return not any(map(is_number, names)) and (bool(found & {"video", "path"}) or len(found) > 1)
