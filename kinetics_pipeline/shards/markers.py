"""Commit markers: what a shard holds and what became of each of its clips, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.records import OUTCOMES, Record
from kinetics_pipeline.shards.writer import SHARD_NAME

_RECORD = frozenset(field.name for field in fields(Record))


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


def parse_marker(name: str, data: bytes) -> Marker:
    """The marker in file `name` (`shards/train-00000.json`). Raises JobFailed, naming it, when it is damaged."""
    shard = name.rpartition("/")[2].removesuffix(".json")
    try:
        matched = SHARD_NAME.fullmatch(shard)
        if matched is None:
            raise ValueError("its name is no shard's")
        document = json.loads(data)
        if document["shard"] != shard:
            raise ValueError(f"it is the marker of {document['shard']!r}")
        clips, first, position = tuple(document["clips"]), 0, 0
        for entry in clips:
            if _is_ok(entry):
                entry["first_row"], entry["position"] = first, position
                first, position = first + int(entry["rows"]), position + 1
        size, sha256 = document["bytes"], document["sha256"]
        if (sha256 is None) != (first == 0) or (size > 0) != (first > 0):
            raise ValueError("it does not agree with itself on whether there is a data file")
        return Marker(shard, matched[1], int(document["plan"]), size, sha256, clips)
    except KeyError as e:
        raise JobFailed(f"{name} is damaged: it has no {e}; `verify` names what else is") from None
    except (ValueError, TypeError, AttributeError) as e:
        raise JobFailed(f"{name} is damaged: {' '.join(str(e).split())}; `verify` names what else is") from None


def _is_ok(entry: dict[str, Any]) -> bool:
    """Whether the entry's clip has rows. Raises ValueError, TypeError or KeyError when it is not as it must be."""
    for name in sorted(_RECORD - entry.keys()):
        raise KeyError(name)
    if not isinstance(entry["clip_id"], str) or entry["outcome"] not in OUTCOMES:
        raise ValueError(f"clip {entry['clip_id']!r} has outcome {entry['outcome']!r}")
    if entry["outcome"] != "ok":
        return False
    if min(entry["rows"], entry["frames"], entry["height"], entry["width"]) < 1:
        raise ValueError(f"clip {entry['clip_id']} is ok and holds nothing")
    if not isinstance(entry["content"], str):
        raise TypeError(f"clip {entry['clip_id']} has content {entry['content']!r}")
    return True
