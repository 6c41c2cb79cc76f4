"""Takes clips out of a dataset for good.

A tombstone comes first. It is one small file, and from that moment on the clips are withdrawn for whoever reads the
dataset or builds on it. Then the shards that hold them are rewritten one by one, and at every moment each marker
names a data file that is as it says: the new file is uploaded beside the old one (`.next`), the marker turns to it,
the new file takes the old one's name, the marker turns back. Whoever is killed in between is gone on from by anybody.
"""

from __future__ import annotations

import json
import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset, tombstone_file
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.records import CLIP_ID
from kinetics_pipeline.shards.clip_rows import CorruptRow, Origin
from kinetics_pipeline.shards.data_file import data_name, open_data_file, write_data_file
from kinetics_pipeline.shards.markers import (
    NEXT,
    Marker,
    Tombstone,
    as_withdrawn,
    marker_name,
    sealed,
    withdrawal_reason,
)
from kinetics_pipeline.shards.writer import Superseded
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.storage.store import Store, as_local_file

LONGEST_REASON = 500
_ROUNDS = 3
"""Two are needed where a killed run left a shard half rewritten, and one to see that nothing is left."""
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, lone surrogates, and what begins a line or a paragraph (Unicode's general categories)."""


def withdraw(dataset: Dataset, ids: Collection[str], reason: str) -> Tombstone | None:
    """Withdraws clips and videos, whether the dataset has heard of them or not. None when all of them are already.

    Raises UserError for a reason that is not one line of text.
    """
    unseen = any(unicodedata.category(letter) in _UNSEEN for letter in reason)
    if not reason.strip() or len(reason) > LONGEST_REASON or unseen:
        raise UserError(f"the reason is {reason[:60]!r}; allowed: one line of up to {LONGEST_REASON} characters")
    new = sorted(set(ids) - dataset.withdrawn().keys())
    if not new:
        return None
    wanted = set(new)
    newest = dataset.newest(
        lambda marker, entry: (
            {"clip_id": entry["clip_id"], "split": marker.split, "label": entry["label"]}
            if entry["outcome"] == "ok" and not wanted.isdisjoint((entry["clip_id"], entry["video_id"]))
            else None
        )
    )
    stone = Tombstone(
        reason=reason,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        ids=new,
        held=[clip for clip in newest.values() if clip is not None],
        fingerprint=fingerprint(dataset).to_json(),
    )
    number = len(dataset.tombstone_names())
    while not dataset.store.create(tombstone_file(number), sealed(vars(stone))):
        number += 1
    return stone


def finish_withdrawals(dataset: Dataset, scratch: Path, still_current: Callable[[], bool]) -> int:
    """Rewrites every shard that still holds a withdrawn clip, or was left half rewritten; how many. Idempotent.

    Only for who holds the lease: raises Superseded when `still_current()` is false before a shard is touched. Raises
    JobFailed for a shard that is damaged.
    """
    withdrawn = dataset.withdrawn()
    if not withdrawn:
        return 0
    rewritten = 0
    for _ in range(_ROUNDS):  # again: what a killed run left half done may hold newer ones
        waiting = _waiting(dataset, withdrawn)
        for marker in waiting:
            if not still_current():
                raise Superseded("nothing more is rewritten: another build has taken over this dataset")
            try:
                _rewrite(dataset, marker, withdrawn, scratch)
            except (CorruptRow, FileNotFoundError) as error:
                raise JobFailed(
                    f"{dataset.store.uri}: shard {marker.shard} is damaged and cannot be rewritten ({error}); "
                    "its clips are withdrawn all the same: `tools repair`, then this again"
                ) from None
            rewritten += 1
        if not waiting:
            return rewritten
    raise JobFailed(
        f"{dataset.store.uri}: shard {waiting[0].shard} was rewritten, yet what was to be removed is still there; "
        "its clips are withdrawn all the same"
    )


def _waiting(dataset: Dataset, withdrawn: Mapping[str, str]) -> list[Marker]:
    there = {name for name, _ in dataset.store.list("shards")}
    return [marker for marker in dataset.markers() if _concerned(marker, withdrawn, dataset, there)]


def remove_kept(kept: Store, withdrawn: Mapping[str, str], clips: Collection[str]) -> int:
    """Removes the kept segments (`{split}/{clip_id}.mp4`) of withdrawn clips, and of `clips`; how many."""
    removed = 0
    for name, _ in kept.list():
        stem = name.rpartition("/")[2].removesuffix(".mp4")
        if not name.endswith(".mp4") or (clip := CLIP_ID.fullmatch(stem)) is None:
            continue
        if stem in withdrawn or clip["video"] in withdrawn or stem in clips:
            kept.delete(name)
            removed += 1
    return removed


def _concerned(marker: Marker, withdrawn: Mapping[str, str], dataset: Dataset, there: Collection[str]) -> bool:
    layout = dataset.recipe.layout
    return (
        marker.file != marker.shard
        or data_name(marker.shard + NEXT, layout) in there
        or (marker.sha256 is None and data_name(marker.shard, layout) in there)
        or any(
            entry["outcome"] != "withdrawn" and withdrawal_reason(entry, withdrawn) is not None
            for entry in marker.clips
        )
    )


def _rewrite(dataset: Dataset, marker: Marker, withdrawn: Mapping[str, str], scratch: Path) -> None:
    store, layout, shard = dataset.store, dataset.recipe.layout, marker.shard
    own, following = data_name(shard, layout), data_name(shard + NEXT, layout)
    document = json.loads(store.read(marker_name(shard)))
    scratch.mkdir(parents=True, exist_ok=True)
    if marker.file == shard:
        survivors = [e for e in marker.clips if e["outcome"] == "ok" and withdrawal_reason(e, withdrawn) is None]
        document["clips"] = [as_withdrawn(entry, withdrawn) for entry in document["clips"]]
        if not survivors:
            store.write(marker_name(shard), sealed({**document, "bytes": 0, "sha256": None}))
        elif len(survivors) == sum(entry["outcome"] == "ok" for entry in marker.clips):
            store.write(marker_name(shard), sealed(document))
        else:
            unfinished = scratch / f"{shard}.{uuid.uuid4().hex}{Path(own).suffix}"
            try:
                with as_local_file(store, own, scratch) as path:
                    _write(unfinished, path, marker.split, survivors, dataset)
                document["sha256"] = sha256_of(unfinished)
                document["bytes"] = unfinished.stat().st_size
                store.upload(unfinished, following)
                store.write(marker_name(shard), sealed({**document, "file": shard + NEXT}))
            finally:
                unfinished.unlink(missing_ok=True)
            marker = Marker(**{**vars(marker), "file": shard + NEXT})
    if marker.file != shard:
        with as_local_file(store, following, scratch) as path:
            store.upload(path, own)
        store.write(marker_name(shard), sealed({k: v for k, v in document.items() if k != "file"}))
    elif not any(entry["outcome"] == "ok" for entry in document["clips"]):
        store.delete(own)
    store.delete(following)


def _write(to: Path, path: Path, split: str, survivors: Sequence[Mapping[str, Any]], dataset: Dataset) -> None:
    with open_data_file(path, dataset.recipe.layout) as read:
        clips = (
            (read(entry["first_row"], entry["rows"], entry["position"]), Origin.of(entry, split)) for entry in survivors
        )
        shapes = write_data_file(to, clips, dataset.recipe, dataset.classes)
    for shape, entry in zip(shapes, survivors, strict=True):
        if (shape.clip_id, shape.content) != (entry["clip_id"], entry["content"]):
            raise CorruptRow(f"the rows of {shape.clip_id} are not those of the marker's {entry['clip_id']}")
