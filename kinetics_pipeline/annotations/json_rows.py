"""Clips in JSON: an object by video (as Kinetics-700 and ActivityNet are published), a list of objects, or an object a
line; read entry by entry, so that only one is in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from kinetics_pipeline.annotations.rows import COLUMNS, Line, Reject, Row, column_names, names_file, shown, unread_time
from kinetics_pipeline.errors import UserError

FIELDS = {"annotations", "segment"}.union(*COLUMNS.values())
"""An object with none of these names is none of a clip."""
MAX_ENTRY = 16 << 20
"""Characters of one entry; ActivityNet's longest has some thousand."""
BLOCK = 1 << 16
DATABASE = "database"
"""The key under which ActivityNet has its videos; what stands beside it is not read."""
BEFORE_DATABASE = 16
"""Keys that may stand before it."""
_NOT_BLANK = re.compile(r"[^ \t\n\r]")


class _Repeated(list[tuple[str, Any]]):
    """The pairs of a JSON object that has a key twice; as a dict the last would win in silence."""


def read_json(name: str, blocks: Iterator[str], reject: Reject) -> Iterator[Row]:
    """The rows of a JSON file called `name`, given as pieces of its text. Raises UserError, also in the middle, for
    what is not JSON."""
    yield from _rows_of(_entries(_Text(name, blocks)), reject)


def read_json_lines(name: str, lines: Iterator[str], reject: Reject) -> Iterator[Row]:
    """The rows of a file with one JSON object a line; a line that is none is rejected."""

    def entries() -> Iterator[tuple[Line, Any]]:
        for number, line in enumerate(lines, start=1):
            if line.isspace():
                continue
            try:
                yield number, json.loads(line, object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                reject(number, f"not JSON: {' '.join(str(error).split())}")

    yield from _rows_of(entries(), reject)


def is_line_of_json(line: str) -> bool:
    """Whether a line is an object of one clip: then a file that begins with it has one a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and bool(FIELDS & {*column_names(list(found))})


def _rows_of(entries: Iterator[tuple[Line, Any]], reject: Reject) -> Iterator[Row]:
    for line, entry in entries:
        if isinstance(entry, dict):
            yield from _rows(line, entry, reject)
        else:
            reject(line, "a key twice" if isinstance(entry, _Repeated) else f"not an object: {shown(entry)}")


def _entries(text: _Text) -> Iterator[tuple[Line, Any]]:
    opening = text.peek()
    if opening == "[":
        yield from enumerate(text.list_items(), start=1)
    elif opening == "{":
        yield from _pairs(text)
    else:
        text.value()
        raise UserError(f"annotation file {text.name} holds neither an object nor a list")
    if text.peek():
        raise text.error("it goes on after its end")


def _pairs(text: _Text) -> Iterator[tuple[Line, Any]]:
    keys = text.object_keys()
    before: list[tuple[Line, Any]] = []
    for key in islice(keys, BEFORE_DATABASE):
        if key == DATABASE and text.peek() == "{":
            yield from ((video, text.value()) for video in text.object_keys())
            for _ in keys:
                text.value()
            return
        before.append((key, text.value()))
    yield from chain(before, ((key, text.value()) for key in keys))


class _Text:
    """A JSON text of which only the part that is being read is in memory."""

    def __init__(self, name: str, blocks: Iterator[str]) -> None:
        self.name = name
        self._blocks = blocks
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode

    def error(self, reason: object) -> UserError:
        return UserError(f"annotation file {self.name} is not JSON: {' '.join(str(reason).split())}")

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            found = _NOT_BLANK.search(self._text, self._at)
            self._at = found.start() if found is not None else len(self._text)
            if found is not None or not self._more():
                return found[0] if found is not None else ""

    def value(self) -> Any:
        """The value that comes next."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError as error:
                raise self.error(error) from None
            except ValueError as error:  # wrong, or not yet whole
                if len(self._text) - self._at > MAX_ENTRY or not self._more():
                    raise self.error(error) from None
                continue
            if end == len(self._text) and self._more():  # a number may go on
                continue
            self._at = end
            return value

    def object_keys(self) -> Iterator[str]:
        """The keys of the object that comes next; the value of each is read before the next is asked for."""
        for _ in self._members("{", "}"):
            if self.peek() != '"':
                raise self.error("a key without quotes")
            key = self.value()
            self._take(":")
            yield key

    def list_items(self) -> Iterator[Any]:
        """The values of the list that comes next."""
        for _ in self._members("[", "]"):
            yield self.value()

    def _members(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._at += 1
                return
            self._take(",")

    def _take(self, sign: str) -> None:
        if self.peek() != sign:
            raise self.error(f"{sign!r} expected before {shown(self._text[self._at : self._at + 20])}")
        self._at += 1

    def _more(self) -> bool:
        """Reads on, the further the more of one value is there already; False at the end."""
        pieces = [self._text[self._at :]]
        wanted = max(BLOCK, len(pieces[0]))
        while wanted > 0 and (block := next(self._blocks, "")):
            pieces.append(block)
            wanted -= len(block)
        self._text, self._at = "".join(pieces), 0
        return len(pieces) > 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    document = dict(pairs)
    return document if len(document) == len(pairs) else _Repeated(pairs)


def _rows(line: Line, item: dict[str, Any], reject: Reject) -> Iterator[Row]:
    """The published form names the video by key and has `annotations`, one or (ActivityNet) a list; a list of flat
    objects names everything inside."""
    fields = _fields(item)
    if not fields.keys() & FIELDS:
        reject(line, f"no annotations, label or split in {shown(item)}")
        return
    annotations = fields.get("annotations") or {}
    for annotation in annotations if isinstance(annotations, list) else [annotations]:
        if not isinstance(annotation, dict):
            reject(line, f"annotations are not an object: {shown(annotation)}")
            continue
        cells = fields | _fields(annotation)
        segment = cells.get("segment")
        if segment is None:
            segment = [_cell(cells, "time_start"), _cell(cells, "time_end")]
        if segment == [None, None] and (unread := unread_time(cells)):
            reject(line, f"{shown(unread)} is not read; allowed: time_start and time_end, in seconds")
            continue
        if not isinstance(segment, list) or len(segment) != 2:
            reject(line, f"segment is {shown(segment)}, not [start, end]")
            continue
        named = _cell(cells, "label")
        if isinstance(named, list | dict | float):
            reject(line, f"label is {shown(named)}, not one text")
            continue
        path = _text(_cell(cells, "path"))
        video = line if isinstance(line, str) else _text(_cell(cells, "video"))
        if path is None and video is not None and "youtube_id" not in cells and names_file(video):
            video, path = None, video
        start, end = (_scalar(time) for time in segment)
        label, split = _text(named), _text(_cell(cells, "split"))
        yield Row(line, video.strip() or None if video else None, path, label, start, end, split)


def _fields(item: dict[str, Any]) -> dict[str, Any]:
    """An object with its keys spelt as columns are."""
    return dict(zip(column_names(list(item)), item.values(), strict=True))


def _cell(cells: dict[str, Any], field: str) -> Any:
    return next((cells[name] for name in COLUMNS[field] if name in cells), None)


def _text(value: object) -> str | None:
    return None if value is None else str(value).strip() or None


def _scalar(value: object) -> str | float | None:
    """Numbers as they are; anything else as text, which will not pass for a number unless it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return str(value)
    return value
