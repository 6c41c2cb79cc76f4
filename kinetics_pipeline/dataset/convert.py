"""Makes a dataset of another layout, and of fewer clips, from one that is committed, without its videos.

The array layout holds the values that the parquet layout's JPEGs or the video layout's H.264 stand for; clips of the
same layout and quality are copied as they are. What could not be had of the clips chosen is written down again, and
withdrawals go along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import Dataset, require_among_classes
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.plan import JOINED, Plan, plan_schema
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.clip_rows import CorruptRow, recode
from kinetics_pipeline.shards.data_file import data_name, open_data_file
from kinetics_pipeline.shards.markers import Marker
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.storage.store import Store, as_local_file


@dataclass(frozen=True)
class Choice:
    """Which clips are taken; None takes all."""

    classes: Collection[str] | None = None
    splits: Collection[str] | None = None
    """Splits of clips, or lists that clips are on (UCF-101's `train1`)."""
    clips: Collection[str] | None = None


@dataclass(frozen=True)
class _Source:
    """Where a clip lies now."""

    file: str | None
    """None when it has no rows."""
    entry: dict[str, Any]
    split: str


def begin(source: Dataset, target: str, layout: Layout, choice: Choice, clips_per_shard: int) -> Dataset:
    """The dataset at `target`, with its one plan; one that the same command began is continued.

    Raises UserError for a class or split that there is not, when nothing is chosen, and when `target` is another
    dataset.
    """
    if choice.classes is not None:
        require_among_classes(source, choice.classes)
    dataset = Dataset.open_or_create(target, source.recipe.stored_as(layout), source.classes, source.annotations)
    for name in source.tombstone_names():
        dataset.store.create(name, source.store.read(name))
    plan = _planned(source, choice, clips_per_shard)
    if not dataset.plan_numbers():
        dataset.add_plan(plan)
    elif not dataset.plan(0).table.equals(plan.table):
        raise UserError(f"{dataset.store.uri} was begun with another choice of clips; give another --output")
    return dataset


def _planned(source: Dataset, choice: Choice, clips_per_shard: int) -> Plan:
    found = _sources(source)
    annotated = _annotated(source)
    splits_of = {
        clip_id: {place.split, *annotated.get(clip_id, {}).get("lists", "").split()} for clip_id, place in found.items()
    }
    splits = set[str]().union(*splits_of.values())
    for split in sorted(set(choice.splits or ()) - splits):
        raise UserError(f"split is {split!r}; {source.store.uri} holds {', '.join(sorted(splits))}")
    # In the order of the source's shards, so that each is read once, from its beginning to its end.
    ordered = sorted(found.values(), key=lambda place: (place.entry["shard"], place.entry.get("first_row", -1)))
    chosen = [place for place in ordered if _is_chosen(place, splits_of[place.entry["clip_id"]], choice)]
    if not any(place.file for place in chosen):
        raise UserError(f"no clip of {source.store.uri} is left by this choice of split, classes and clips")
    rows: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for place in chosen:
        number = counts.get(place.split, 0)
        counts[place.split] = number + 1
        named = {name: place.entry[name] for name in ("clip_id", "video_id", "time_start", "time_end", "label")}
        shard = f"{place.split}-{number // clips_per_shard:05d}"
        rows.append({**named, **annotated.get(place.entry["clip_id"], {}), "split": place.split, "shard": shard})
    rows.sort(key=lambda row: row["shard"])
    for position, row in enumerate(rows):
        row |= {"position": position, "source": "local"}
    return Plan(pa.Table.from_pylist(rows, schema=plan_schema({name for row in rows for name in row})))


def _annotated(source: Dataset) -> dict[str, dict[str, Any]]:
    """What the plans alone say of clips, by clip_id: the file named, lists, actions; the newest plan counts."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for _, plan in sorted(source.plans().items()):
        for name in {"path", *JOINED.names} & set(plan.table.column_names):
            for clip_id, value in zip(plan.clip_ids(), plan.table[name].to_pylist(), strict=True):
                if value is not None:
                    found[clip_id][name] = value
    return found


def _sources(source: Dataset) -> dict[str, _Source]:
    def place(marker: Marker, entry: dict[str, Any]) -> _Source:
        file = data_name(marker.file, source.recipe.layout) if entry["outcome"] == "ok" else None
        return _Source(file, {**entry, "shard": marker.shard}, marker.split)

    return source.newest(place)


def _is_chosen(place: _Source, splits: set[str], choice: Choice) -> bool:
    """`splits`: the clip's own, and the lists it is on."""
    return (
        (choice.classes is None or place.entry["label"] in choice.classes)
        and (choice.splits is None or not splits.isdisjoint(choice.splits))
        and (choice.clips is None or place.entry["clip_id"] in choice.clips)
    )


def convert(
    source: Dataset,
    dataset: Dataset,
    scratch: Path,
    still_current: Callable[[], bool],
    on_shard: Callable[[int], None] = lambda done: None,
) -> int:
    """Commits the shards of a dataset that `begin` has planned; how many. `on_shard` hears how many are done.

    Raises JobFailed when the source is damaged.
    """
    found = _sources(source)
    unfinished = dataset.unfinished()
    if unfinished is None:
        return 0
    number, plan, missing = unfinished
    wanted = set(missing)
    for done, shard in enumerate((shard for shard in plan.shards() if shard.name in wanted), start=1):
        places = [found[clip.clip_id] for clip in shard.clips]
        with _Reader(source, scratch) as reader:
            items = ((Record.from_json(place.entry), reader.payload(place, dataset.recipe)) for place in places)
            try:
                write_shard(
                    dataset.store,
                    name=shard.name,
                    plan=plan_name(number),
                    clips=items,
                    recipe=dataset.recipe,
                    classes=dataset.classes,
                    scratch=scratch,
                    still_current=still_current,
                )
            except CorruptRow as error:  # rows that are whole, and not those of the marker
                raise JobFailed(f"{source.store.uri} is damaged ({error}); verify the dataset") from None
        on_shard(done)
    return len(missing)


class _Reader:
    """Reads clips of one data file after the other; the one open is closed for the next."""

    def __init__(self, source: Dataset, scratch: Path) -> None:
        self._store: Store = source.store
        self._recipe, self._scratch = source.recipe, scratch
        self._file: str | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def payload(self, place: _Source, recipe: Recipe) -> bytes:
        if place.file is None:
            return b""
        try:
            if place.file != self._file:
                self._stack.close()
                path = self._stack.enter_context(as_local_file(self._store, place.file, self._scratch))
                self._read = self._stack.enter_context(open_data_file(path, self._recipe.layout))
                self._file = place.file
            rows = self._read(place.entry["first_row"], place.entry["rows"], place.entry["position"])
            return recode(rows, self._recipe, recipe)
        except (CorruptRow, FileNotFoundError) as error:
            raise JobFailed(f"{self._store.uri}/{place.file} is damaged ({error}); verify the dataset") from None
