"""What is in a cell but is not meant: characters that nobody sees, and the address around a video's id."""

from __future__ import annotations

import re
import unicodedata

from kinetics_pipeline.annotations.rows import Row
from kinetics_pipeline.records import VIDEO_ID

_UNSEEN = re.compile("[\u200b\u2060\ufeff]")
"""Spaces without width, and the mark of the byte order."""
_YOUTUBE = re.compile(
    r"(?:https?://)?(?:[a-z]+\.)?(?:youtu\.be/|youtube(?:-nocookie)?\.com/"
    r"(?:watch/?\?(?:[^#]*&)?v=|(?:shorts|embed|live|v|e)/))([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-]).*",
    re.IGNORECASE,
)
"""The addresses of a video: watch?v=, youtu.be, shorts and so on; what follows the id does not matter."""
_TEXT_FOR_EXCEL = re.compile(r'="(.*)"')
"""Written so that Excel does not take an id that begins with `-` for a sum."""


def cleaned(row: Row) -> Row:
    """The row with a label of ordinary blanks, and an id in place of a YouTube address."""
    video, path, label = row.video_id, row.path, row.label
    if label is not None and not label.isascii():
        row = row._replace(label=cleaned_label(label))
    if video is not None and VIDEO_ID.fullmatch(video) is None:
        video = _seen(video)
        if written := _TEXT_FOR_EXCEL.fullmatch(video):
            video = written[1]
        if address := _YOUTUBE.fullmatch(video):
            video = address[1]
        return row._replace(video_id=video or None)
    if video is None and path is not None and (address := _YOUTUBE.fullmatch(path)):
        return row._replace(video_id=address[1], path=None)
    return row


def cleaned_label(label: str | None) -> str | None:
    """The label with ordinary blanks alone; None where nothing is left."""
    return label if label is None or label.isascii() else _seen(label) or None


def _seen(text: str) -> str:
    """The text without characters that have no width; all kinds of blanks become ordinary ones."""
    text = _UNSEEN.sub("", text)
    return "".join(" " if unicodedata.category(c) == "Zs" else c for c in text).strip()
