"""Four hashes that say which dataset this is: what was asked, how it was made, what survived, and the very bytes.

All are SHA-256 in hex over lines of UTF-8 and computed from what is committed, so two sites compare datasets, or
results made with them, without exchanging either. The first that differs says why two results may not be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.shards.markers import Marker

ENTRIES = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "video_id", "label", "split", "outcome", "content")),
        *((name, pa.float64()) for name in ("time_start", "time_end")),
    ]
)
"""What is read of each clip."""
_AT_ONCE = 8192
_encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Fingerprint:
    """The hashes of a dataset, in the order in which they are compared."""

    annotations: str
    """Sorted (clip_id, video_id, start, end, label, split) of every clip that has a record, whatever its outcome: what
    was asked, in whatever files it came."""
    recipe: str
    survivors: str
    """Sorted ids of the clips that are `ok`."""
    content: str
    """Sorted ids of the clips that are `ok`, each with the digest of its rows' CRCs (`payload.content_digest`)."""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def fingerprint(dataset: Dataset) -> Fingerprint:
    """The fingerprint of what is committed now. Raises JobFailed that names a marker which is damaged."""

    asked: list[str] = []
    survivors: dict[str, str] = {}
    for batch in dataset.newest_table(ENTRIES).to_batches(_AT_ONCE):
        for entry in batch.to_pylist():
            asked.append(_asked(entry, entry["split"]))
            if entry["outcome"] == "ok":
                survivors[entry["clip_id"]] = entry["content"]
    return fingerprint_of(asked, dataset.recipe.to_json(), survivors)


def asked_line(marker: Marker, entry: Mapping[str, Any]) -> str:
    """What was asked of a clip."""
    return _asked(entry, marker.split)


def _asked(entry: Mapping[str, Any], split: str) -> str:
    clip_id, video_id, start, end, label = (
        entry[k] for k in ("clip_id", "video_id", "time_start", "time_end", "label")
    )
    return _json([clip_id, video_id, _number(start), _number(end), label, split])


def fingerprint_of(asked: Iterable[str], recipe: Mapping[str, Any], survivors: Mapping[str, str]) -> Fingerprint:
    """The fingerprint of what was asked (`asked_line`) and of survivors' row digests by clip_id, in whatever order."""
    content = (f"{clip_id} {digest}" for clip_id, digest in survivors.items())
    return Fingerprint(_hash(asked), _hash([_json(recipe)]), _hash(survivors), _hash(content))


def _number(seconds: float | None) -> float | None:
    return None if seconds is None else float(seconds)  # 1 and 1.0 are one time, and two texts


def _json(value: Any) -> str:
    return _encoder.encode(value)


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
