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
import pyarrow.compute as pc

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.shards.markers import Marker

ENTRIES = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "video_id", "label", "split", "outcome", "content")),
        *((name, pa.float64()) for name in ("time_start", "time_end")),
    ]
)
"""What is read of each clip."""
_AT_ONCE = 1 << 16
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
    entries = dataset.newest_table(ENTRIES)
    ok = entries.filter(pc.equal(entries["outcome"], "ok"))
    content = _joined(ok["clip_id"], " ", ok["content"])
    recipe = _hash([_json(dataset.recipe.to_json())])
    return Fingerprint(_hash_column(_asked_lines(entries)), recipe, _hash_column(ok["clip_id"]), _hash_column(content))


def asked_line(marker: Marker, entry: Mapping[str, Any]) -> str:
    """What was asked of a clip."""
    clip_id, video_id, start, end, label = (
        entry[k] for k in ("clip_id", "video_id", "time_start", "time_end", "label")
    )
    return _json([clip_id, video_id, _number(start), _number(end), label, marker.split])


def _asked_lines(entries: pa.Table) -> pa.ChunkedArray:
    """`asked_line` of each entry. Ids are of letters that JSON writes as they are (`records.CLIP_ID`)."""
    start, end, label, split = (_as_json(entries[name]) for name in ("time_start", "time_end", "label", "split"))
    ids = entries["clip_id"], entries["video_id"]
    return _joined('["', ids[0], '","', ids[1], '",', start, ",", end, ",", label, ",", split, "]")


def _as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each value as JSON; of each different value the text is made once."""
    different = column.unique()
    texts = pa.array([_json(value) for value in different.to_pylist()], pa.large_string())
    return pa.chunked_array([texts.take(pc.index_in(part, different)) for part in column.chunks], pa.large_string())


def _joined(*parts: pa.ChunkedArray | str) -> pa.ChunkedArray:
    kind = pa.large_string()  # all lines together may be more than 2 GB
    texts = [pa.scalar(part, kind) if isinstance(part, str) else part.cast(kind) for part in parts]
    return pc.binary_join_element_wise(*texts, pa.scalar("", kind))


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


def _hash_column(lines: pa.ChunkedArray) -> str:
    """The hash that `_hash` gives: Arrow sorts texts by their bytes, which is the order of their code points."""
    found = hashlib.sha256()
    order = pc.sort_indices(lines)
    for first in range(0, len(order), _AT_ONCE):
        part = lines.take(order.slice(first, _AT_ONCE)).to_pylist()
        found.update("".join(f"{line}\n" for line in part).encode())
    return found.hexdigest()
