"""Commit markers: what a shard holds and what became of each of its clips, sealed when written, checked when read.

The last thing in a marker is `digest`, the SHA-256 of the bytes before it: a changed letter could otherwise lose a
clip and nobody would know. Markers of the first datasets have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypedDict, cast

import msgspec

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.records import CLIP_ID, SPLIT, VIDEO_ID, Outcome

SHARD_NAME = re.compile(rf"({SPLIT.pattern})-(\d{{5,}})")
NEXT = ".next"
"""Follows the shard in the name of a data file that is to take the place of the shard's own."""
_SEAL = re.compile(rb', "digest": "([0-9a-f]{64})"}')
_SEAL_LENGTH = len(', "digest": ""}') + 64
_Int16 = Annotated[int, msgspec.Meta(ge=1, le=2**15 - 1)]
_Int32 = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""What a shard's columns can say."""
_Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
_Seconds = int | float | None
_ClipId = Annotated[str, msgspec.Meta(pattern=rf"^{CLIP_ID.pattern}\Z")]
_VideoId = Annotated[str, msgspec.Meta(pattern=rf"^{VIDEO_ID.pattern}\Z")]
"""Names of files are made of them."""


class _WithRows(TypedDict, total=False):
    """What an entry says only while its clip has rows."""

    rows: _Int16
    height: _Int16
    width: _Int16
    content: str


class _Facts(TypedDict, total=False):
    """What entries of older datasets do not say."""

    source_fps: float | None
    source_width: _Int32 | None
    source_height: _Int32 | None
    repeated: _Int32 | None
    finished: _Time | None


class _Entry(_WithRows, _Facts):
    """What every entry has: the fields of a `Record`."""

    clip_id: _ClipId
    video_id: _VideoId
    time_start: _Seconds
    time_end: _Seconds
    label: str | None
    outcome: Outcome
    detail: str
    source: str
    requests: int
    frames: _Int32
    seconds: dict[str, float]


class _Optional(TypedDict, total=False):
    file: str
    archives: Annotated[int, msgspec.Meta(ge=-1, le=10**9)]
    digest: str


class _Document(_Optional):
    shard: str
    plan: str
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str | None
    clips: list[_Entry]


IN_EVERY_ENTRY = frozenset(_Entry.__required_keys__)
_OF_A_FILE = frozenset(_WithRows.__optional_keys__)
"""Other fields of a marker than those named here are not read."""
_document = msgspec.json.Decoder(_Document).decode


class _Held(TypedDict):
    clip_id: _ClipId
    split: Annotated[str, msgspec.Meta(pattern=rf"^{SPLIT.pattern}\Z")]
    label: str | None


class _TombstoneDocument(TypedDict):
    reason: str
    time: str
    ids: list[_ClipId]
    held: list[_Held]
    fingerprint: dict[str, str]


_tombstone = msgspec.json.Decoder(_TombstoneDocument).decode


def marker_name(shard: str) -> str:
    return f"shards/{shard}.json"


def next_file(shard: str, sha256: str) -> str:
    """The name of a data file with these bytes until it takes the shard's own: nobody gives it to other bytes."""
    return f"{shard}{NEXT}-{sha256[:16]}"


def shard_of(file: str) -> str:
    """The shard of a data file, by the file's name without folder and suffix."""
    return file.partition(NEXT)[0]


@dataclass(frozen=True)
class Marker:
    """A committed shard.

    `clips` are the entries as they were written: a record's fields and, of an `ok` clip, its `rows`, `height`,
    `width`, `content` (see `payload.Shape`). Added here are `first_row`, the number of its first row in the data file,
    and `position`, its number among the `ok` clips.
    """

    shard: str
    split: str
    plan: int
    bytes: int
    """Bytes of the data file; 0 when no clip survived and there is no file."""
    sha256: str | None
    clips: tuple[dict[str, Any], ...]
    file: str
    """The data file's name without folder and suffix: the shard's, but for the moments in which it is replaced."""
    archive_group: int | None = None
    """`Plan.archive_group` of its plan."""


@dataclass(frozen=True)
class Tombstone:
    """A withdrawal: it lies in `state/withdrawn/` for ever."""

    reason: str
    time: str
    ids: list[str]
    """Ids of clips, or of videos; the latter withdraw all their clips."""
    held: list[dict[str, Any]]
    """`clip_id`, `split` and `label` of the clips that the dataset held until then."""
    fingerprint: dict[str, str]
    """The dataset's, until then."""


def parse_tombstone(name: str, data: bytes) -> Tombstone:
    """Raises JobFailed when it is damaged: a withdrawal must not be lost."""
    try:
        document = _tombstone(data)
        if not is_sealed(data):
            raise ValueError("it was changed after it was written")
        if not document["reason"]:
            raise ValueError("it is not a withdrawal")
        return Tombstone(**{field.name: document[field.name] for field in fields(Tombstone)})  # type: ignore[literal-required]
    except (ValueError, RecursionError, msgspec.DecodeError) as e:
        raise JobFailed(f"{name} is damaged: {' '.join(str(e).split())}; restore it from a copy") from None


def sealed(document: Mapping[str, Any]) -> bytes:
    """A marker as it is written."""
    text = json.dumps({k: v for k, v in document.items() if k != "digest"}, ensure_ascii=False).encode()[:-1]
    return text + b', "digest": "' + hashlib.sha256(text).hexdigest().encode() + b'"}'


def without_rows(entry: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """An entry whose clip has no rows any more."""
    added = (*_OF_A_FILE, "first_row", "position")
    return {**{k: v for k, v in entry.items() if k not in added}, "frames": 0, **changes}


def withdrawal_reason(entry: Mapping[str, Any], withdrawn: Mapping[str, str]) -> str | None:
    """Why the entry's clip or its video was withdrawn (reasons by id); None when it was not."""
    return withdrawn.get(entry["clip_id"]) or withdrawn.get(entry["video_id"])


def as_withdrawn(entry: dict[str, Any], withdrawn: Mapping[str, str]) -> dict[str, Any]:
    """The entry, or what there is to say of its clip once that is withdrawn."""
    reason = None if entry["outcome"] == "withdrawn" else withdrawal_reason(entry, withdrawn)
    return entry if reason is None else without_rows(entry, outcome="withdrawn", detail=reason)


def parse_marker(name: str, data: bytes) -> Marker:
    """The marker in file `name` (`shards/train-00000.json`). Raises JobFailed, naming it, when it is damaged."""
    shard = name.rpartition("/")[2].removesuffix(".json")
    try:
        matched = SHARD_NAME.fullmatch(shard)
        if matched is None:
            raise ValueError("its name is not a shard's")
        document = _document(data)
        if "digest" in document and not is_sealed(data):
            raise ValueError("it was changed after it was written")
        if document["shard"] != shard:
            raise ValueError(f"it is the marker of {document['shard']!r}")
        first, position = 0, 0
        clips = cast(list[dict[str, Any]], document["clips"])
        for entry in clips:
            if entry["outcome"] != "ok":
                continue
            if not entry["frames"] or not entry.keys() >= _OF_A_FILE:
                raise ValueError(f"clip {entry['clip_id']} is ok and holds nothing")
            entry["first_row"], entry["position"] = first, position
            first, position = first + entry["rows"], position + 1
        size, sha256 = document["bytes"], document["sha256"]
        if (sha256 is None) != (first == 0) or (size > 0) != (first > 0):
            raise ValueError("it does not agree with itself on whether there is a data file")
        file = document.get("file", shard)
        if file != shard and not re.fullmatch(rf"{re.escape(shard)}{re.escape(NEXT)}(-[0-9a-f]{{16}})?", file):
            raise ValueError(f"it names the data file {file!r}")
        plan = int(document["plan"])
        if not 0 <= plan < 2**31:
            raise ValueError(f"it is of plan {plan}")
        return Marker(shard, matched[1], plan, size, sha256, tuple(clips), file, document.get("archives"))
    except (ValueError, RecursionError, msgspec.DecodeError) as e:
        raise JobFailed(f"{name} is damaged: {' '.join(str(e).split())}; `verify` names what else is") from None


def is_sealed(data: bytes) -> bool:
    """Whether it is as `sealed` made it."""
    seal = _SEAL.fullmatch(data, max(len(data) - _SEAL_LENGTH, 0))
    return seal is not None and hashlib.sha256(memoryview(data)[: seal.start()]).hexdigest() == seal[1].decode()
