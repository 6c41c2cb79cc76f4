"""Commit markers: what a shard holds and what became of each of its clips, sealed when written, checked when read.

The last thing in a marker is `digest`, the SHA-256 of the bytes before it: a changed letter could otherwise lose a
clip and nobody would know. Markers of the first datasets have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any

import orjson

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.records import OUTCOMES, SPLIT

SHARD_NAME = re.compile(rf"({SPLIT.pattern})-(\d{{5,}})")
NEXT = ".next"
"""What the name of a data file gets that is to take the place of the shard's own."""
_SEAL = re.compile(rb', "digest": "([0-9a-f]{64})"}')
_SEAL_LENGTH = len(', "digest": ""}') + 64
_INT16, _INT32 = 2**15 - 1, 2**31 - 1
_MOST = {"rows": _INT16, "frames": _INT32, "height": _INT16, "width": _INT16}
"""What a shard's columns can say."""
_NUMBER, _NONE = (int, float), type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "clip_id": (str,),
    "video_id": (str,),
    "time_start": (*_NUMBER, _NONE),
    "time_end": (*_NUMBER, _NONE),
    "label": (str, _NONE),
    "outcome": (str,),
    "detail": (str,),
    "source": (str,),
    "requests": (int,),
    "frames": (int,),
    "seconds": (dict,),
}
"""What every entry has: the fields of a `Record`."""
_OF_A_FILE: dict[str, tuple[type, ...]] = {"rows": (int,), "height": (int,), "width": (int,), "content": (str,)}
"""What an entry says only while its clip has rows."""


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
    """Of the data file; 0 when no clip survived and there is none."""
    sha256: str | None
    clips: tuple[dict[str, Any], ...]
    file: str
    """The data file's name without folder and suffix: the shard's, but for the moments in which it is replaced."""


@dataclass(frozen=True)
class Tombstone:
    """A withdrawal: it lies in `state/withdrawn/` for ever."""

    reason: str
    time: str
    ids: list[str]
    """Of clips, or of videos: then of all their clips."""
    held: list[dict[str, Any]]
    """`clip_id`, `split` and `label` of the clips that the dataset held until then."""
    fingerprint: dict[str, str]
    """The dataset's, until then."""


def parse_tombstone(name: str, data: bytes) -> Tombstone:
    """Raises JobFailed when it is damaged: a withdrawal must not be lost."""
    try:
        document = orjson.loads(data)
        if not _is_sealed(data):
            raise ValueError("it was changed after it was written")
        stone = Tombstone(**{field.name: document[field.name] for field in fields(Tombstone)})
        texts = [stone.reason, stone.time, *stone.ids, *stone.fingerprint.values()]
        texts += [clip[name] for clip in stone.held for name in ("clip_id", "split")]
        if not all(isinstance(text, str) for text in texts) or not stone.reason or isinstance(stone.ids, str):
            raise ValueError("it is no withdrawal")
        return stone
    except (KeyError, ValueError, TypeError, AttributeError) as e:
        raise JobFailed(f"{name} is damaged: {' '.join(str(e).split())}; restore it from a copy") from None


def sealed(document: Mapping[str, Any]) -> bytes:
    """A marker as it is written."""
    text = json.dumps({k: v for k, v in document.items() if k != "digest"}, ensure_ascii=False).encode()[:-1]
    return text + b', "digest": "' + hashlib.sha256(text).hexdigest().encode() + b'"}'


def without_rows(entry: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """An entry whose clip has no rows any more."""
    added = (*_OF_A_FILE, "first_row", "position")
    return {**{k: v for k, v in entry.items() if k not in added}, "frames": 0, **changes}


def reason_of(entry: Mapping[str, Any], withdrawn: Mapping[str, str]) -> str | None:
    """Why the entry's clip or its video was withdrawn (reasons by id); None when it was not."""
    return withdrawn.get(entry["clip_id"]) or withdrawn.get(entry["video_id"])


def as_told(entry: dict[str, Any], withdrawn: Mapping[str, str]) -> dict[str, Any]:
    """The entry, or what there is to say of its clip once that is withdrawn."""
    reason = None if entry["outcome"] == "withdrawn" else reason_of(entry, withdrawn)
    return entry if reason is None else without_rows(entry, outcome="withdrawn", detail=reason)


def parse_marker(name: str, data: bytes) -> Marker:
    """The marker in file `name` (`shards/train-00000.json`). Raises JobFailed, naming it, when it is damaged."""
    shard = name.rpartition("/")[2].removesuffix(".json")
    try:
        matched = SHARD_NAME.fullmatch(shard)
        if matched is None:
            raise ValueError("its name is no shard's")
        document = orjson.loads(data)
        if "digest" in document and not _is_sealed(data):
            raise ValueError("it was changed after it was written")
        if document["shard"] != shard:
            raise ValueError(f"it is the marker of {document['shard']!r}")
        clips, first = tuple(document["clips"]), 0
        for position, entry in enumerate(_with_rows(clips)):
            entry["first_row"], entry["position"] = first, position
            first += entry["rows"]
        size, sha256 = document["bytes"], document["sha256"]
        if (sha256 is None) != (first == 0) or (size > 0) != (first > 0):
            raise ValueError("it does not agree with itself on whether there is a data file")
        file = document.get("file", shard)
        if file not in (shard, shard + NEXT):
            raise ValueError(f"it names the data file {file!r}")
        plan = int(document["plan"])
        if not 0 <= plan <= _INT32:
            raise ValueError(f"it is of plan {plan}")
        return Marker(shard, matched[1], plan, size, sha256, clips, file)
    except KeyError as e:
        raise JobFailed(f"{name} is damaged: it has no {e}; `verify` names what else is") from None
    except (ValueError, TypeError, AttributeError) as e:
        raise JobFailed(f"{name} is damaged: {' '.join(str(e).split())}; `verify` names what else is") from None


def _is_sealed(data: bytes) -> bool:
    seal = _SEAL.fullmatch(data, max(len(data) - _SEAL_LENGTH, 0))
    return seal is not None and hashlib.sha256(memoryview(data)[: seal.start()]).hexdigest() == seal[1].decode()


def _with_rows(clips: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries whose clips are `ok`. Raises ValueError, TypeError or KeyError when an entry is not as it must be."""
    _require_types(clips, _TYPES)
    if not OUTCOMES.issuperset([entry["outcome"] for entry in clips]):
        wrong = next(entry for entry in clips if entry["outcome"] not in OUTCOMES)
        raise ValueError(f"clip {wrong['clip_id']!r} has outcome {wrong['outcome']!r}")
    survivors = [entry for entry in clips if entry["outcome"] == "ok"]
    _require_types(survivors, _OF_A_FILE)
    for name, most in _MOST.items() if survivors else ():
        values = [entry[name] for entry in survivors]
        if min(values) < 1:
            raise ValueError(f"clip {survivors[values.index(min(values))]['clip_id']} is ok and holds nothing")
        if max(values) > most:
            raise ValueError(f"clip {survivors[values.index(max(values))]['clip_id']} has {name} {max(values)}")
    return survivors


def _require_types(entries: Sequence[dict[str, Any]], allowed: Mapping[str, tuple[type, ...]]) -> None:
    # A column at a time: a marker in ten thousand is looked through for every clip of it.
    columns: Iterable[tuple[Any, ...]] = zip(*map(itemgetter(*allowed), entries), strict=True)
    for (name, types), column in zip(allowed.items(), columns, strict=False):  # no columns when there are no entries
        if not set(map(type, column)).issubset(types):
            wrong = next(entry for entry in entries if type(entry[name]) not in types)
            raise TypeError(f"clip {wrong['clip_id']!r} has {name} {wrong[name]!r}")
