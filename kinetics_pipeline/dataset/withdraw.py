"""Takes clips out of a dataset for good.

A tombstone comes first. It is one small file, and from that moment on the clips are withdrawn for whoever reads the
dataset or builds on it. Then the shards that hold them are rewritten one by one, and at every moment each marker
names a data file that is as it says: the new file is uploaded beside the old one (`.next-...`), the marker turns to it,
the new file takes the old one's name, the marker turns back. What a killed run left in between, the next one finishes.
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
from kinetics_pipeline.records import clip_id
from kinetics_pipeline.shards.clip_rows import CorruptRow, Origin
from kinetics_pipeline.shards.data_file import data_name, open_data_file, write_data_file
from kinetics_pipeline.shards.markers import (
    NEXT,
    Marker,
    Tombstone,
    as_withdrawn,
    marker_name,
    next_file,
    parse_marker,
    sealed,
    shard_of,
    withdrawal_reason,
)
from kinetics_pipeline.shards.writer import Superseded, take_own_name
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
    if not withdrawn and not any(NEXT in name for name, _ in dataset.store.list("shards")):
        return 0
    rewritten = 0
    for _ in range(_ROUNDS):  # again: what a killed run left half done may hold newer ones
        waiting = _waiting(dataset, withdrawn)
        for marker in waiting:
            if not still_current():
                raise Superseded("nothing more is rewritten: another build has taken over this dataset")
            try:
                if not _rewrite(dataset, marker.shard, withdrawn, scratch):
                    raise Superseded(f"{dataset.store.uri}: shard {marker.shard} is being changed by another command")
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
    unfinished = {shard_of(name.removeprefix("shards/")) for name in there if NEXT in name}
    return [marker for marker in dataset.markers() if _concerned(marker, withdrawn, dataset, there, unfinished)]


def remove_kept(kept: Store, dataset: Dataset, asked: Collection[str]) -> int:
    """Removes the kept segments (`{split}/{clip_id}.mp4`) of clips and videos in `asked`; how many.

    Only files whose clip a plan of this dataset names, by an id that is made of the video asked: a dataset that lies
    about its clips removes nothing else.
    """
    wanted = set(asked)
    names = {
        f"{clip.split}/{clip.clip_id}.mp4"
        for plan in dataset.plans().values()
        for shard in plan.shards()
        for clip in shard.clips
        if clip.clip_id in wanted
        or (clip.video_id in wanted and clip.clip_id == clip_id(clip.video_id, clip.time_start, clip.time_end))
    }
    there = sorted(names.intersection(name for name, _ in kept.list()))
    for name in there:
        kept.delete(name)
    return len(there)


def _concerned(
    marker: Marker, withdrawn: Mapping[str, str], dataset: Dataset, there: Collection[str], unfinished: Collection[str]
) -> bool:
    layout = dataset.recipe.layout
    return (
        marker.file != marker.shard
        or marker.shard in unfinished
        or (marker.sha256 is None and data_name(marker.shard, layout) in there)
        or any(
            entry["outcome"] != "withdrawn" and withdrawal_reason(entry, withdrawn) is not None
            for entry in marker.clips
        )
    )


def _rewrite(dataset: Dataset, shard: str, withdrawn: Mapping[str, str], scratch: Path) -> bool:
    """One step: a file left under another name takes the shard's own, or the withdrawn clips are taken out.

    False when somebody else has changed the shard meanwhile: then nothing of theirs is overwritten.
    """
    store, layout = dataset.store, dataset.recipe.layout
    name, own = marker_name(shard), data_name(shard, layout)
    scratch.mkdir(parents=True, exist_ok=True)
    data, version = store.read_version(name)
    marker, document = parse_marker(f"{store.uri}/{name}", data), json.loads(data)
    if marker.file != shard:
        return take_own_name(store, shard, layout, scratch)
    survivors = [e for e in marker.clips if e["outcome"] == "ok" and withdrawal_reason(e, withdrawn) is None]
    document["clips"] = [as_withdrawn(entry, withdrawn) for entry in document["clips"]]
    if survivors and len(survivors) < sum(entry["outcome"] == "ok" for entry in marker.clips):
        unfinished = scratch / f"{shard}.{uuid.uuid4().hex}{Path(own).suffix}"
        try:
            with as_local_file(store, own, scratch) as path:
                _write(unfinished, path, marker.split, survivors, dataset)
            document |= {"sha256": sha256_of(unfinished), "bytes": unfinished.stat().st_size}
            document["file"] = next_file(shard, document["sha256"])
            store.create_from(unfinished, data_name(document["file"], layout))
        finally:
            unfinished.unlink(missing_ok=True)
        return store.replace(name, sealed(document), version) and take_own_name(store, shard, layout, scratch)
    if not survivors:
        document |= {"bytes": 0, "sha256": None}
    if not store.replace(name, sealed(document), version):
        return False
    if not survivors:
        store.delete(own)
    for file, _ in store.list("shards"):
        if NEXT in file and shard_of(file.removeprefix("shards/")) == shard:
            store.delete(file)
    return True


def _write(to: Path, path: Path, split: str, survivors: Sequence[Mapping[str, Any]], dataset: Dataset) -> None:
    with open_data_file(path, dataset.recipe.layout) as read:
        clips = (
            (read(entry["first_row"], entry["rows"], entry["position"]), Origin.of(entry, split)) for entry in survivors
        )
        shapes = write_data_file(to, clips, dataset.recipe, dataset.classes)
    for shape, entry in zip(shapes, survivors, strict=True):
        if (shape.clip_id, shape.content) != (entry["clip_id"], entry["content"]):
            raise CorruptRow(f"the rows of {shape.clip_id} are not those of the marker's {entry['clip_id']}")
