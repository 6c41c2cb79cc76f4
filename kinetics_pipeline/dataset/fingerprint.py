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

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.shards.markers import Marker


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

    def lines(marker: Marker, entry: dict[str, Any]) -> tuple[str, str | None]:
        return asked_line(marker, entry), entry["content"] if entry["outcome"] == "ok" else None

    newest = dataset.newest(lines)
    survivors = {clip_id: content for clip_id, (_, content) in newest.items() if content is not None}
    return fingerprint_of([asked for asked, _ in newest.values()], dataset.recipe.to_json(), survivors)


def asked_line(marker: Marker, entry: Mapping[str, Any]) -> str:
    """What was asked of a clip."""
    clip_id, video_id, start, end, label = (
        entry[k] for k in ("clip_id", "video_id", "time_start", "time_end", "label")
    )
    return _json([clip_id, video_id, _number(start), _number(end), label, marker.split])


def fingerprint_of(asked: Iterable[str], recipe: Mapping[str, Any], survivors: Mapping[str, str]) -> Fingerprint:
    """The fingerprint of what was asked (`asked_line`) and of survivors' row digests by clip_id, in whatever order."""
    content = (f"{clip_id} {digest}" for clip_id, digest in survivors.items())
    return Fingerprint(_hash(asked), _hash([_json(recipe)]), _hash(survivors), _hash(content))


def _number(seconds: float | None) -> float | None:
    return None if seconds is None else float(seconds)  # 1 and 1.0 are one time, and two texts


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
