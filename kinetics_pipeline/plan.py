"""What a run does: (clips asked, outcomes so far, settings) -> which clips, in which shards. Pure.

The order of clips is that of a hash of their video, so it does not depend on what is selected or on the order of the
annotation file: a larger `limit` adds to a smaller one, and the clips of a video, which share a download, stay
together. The limit counts before clips with an outcome are left out, so the same command plans nothing twice.
Clips that local sources hold never share a shard with those that must wait for the network.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import OUTCOMES, Clip

# Imported where a table is made or read: pandas takes most of a second of a worker's start, and workers need none.
if TYPE_CHECKING:
    import pandas as pd

NEVER_RETRIED = frozenset({"ok", "withdrawn"})
RETRY_ALL = "all"
SCHEMA = pa.schema(
    [
        ("position", pa.int32()),
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("time_start", pa.float64()),
        ("time_end", pa.float64()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("path", pa.string()),
        ("source", pa.string()),
        ("shard", pa.string()),
    ]
)
ROWS_AT_ONCE = 4096
"""Rows of a plan of which clips are made together."""
MOST_ROWS, MOST_BYTES = 20_000_000, 4 << 30
"""What a plan may hold. All versions of Kinetics together have 2 million clips, of some 120 bytes each."""
ROWS_READ_AT_ONCE = 1 << 16
LOCAL, NETWORK = "local", "network"
"""Where a clip was found when it was planned."""
BEFORE_ARCHIVES = -1
"""Stands for a group: clips that local sources hold which are asked before archives from afar."""
_ARCHIVES = re.compile(r"archives-(?P<group>\d{1,9})|before-archives")
JOINED = pa.schema([("lists", pa.string()), ("actions", pa.string())])
"""What a clip may have beside one label, as the annotations give it; columns of the plans of datasets that have it."""


@dataclass(frozen=True)
class PlanSettings:
    """What of the annotations a run takes. Raises UserError for what cannot be."""

    clips_per_shard: int = 64
    limit: int | None = None
    """The first so many clips of the fixed order, of those that `classes` and `splits` leave."""
    per_class: int | None = None
    """The first so many clips of each class, likewise; counted before `limit`."""
    classes: Collection[str] | None = None
    splits: Collection[str] | None = None
    retry: Collection[str] = frozenset()
    """Outcomes to be tried again; `all` for every one but ok and withdrawn."""

    def __post_init__(self) -> None:
        if self.clips_per_shard < 1:
            raise UserError(f"clips_per_shard is {self.clips_per_shard}; allowed: 1 or more")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}; allowed: 1 or more")
        for outcome in sorted(self.retry):
            if outcome != RETRY_ALL and outcome not in OUTCOMES - NEVER_RETRIED:
                allowed = ", ".join((RETRY_ALL, *sorted(OUTCOMES - NEVER_RETRIED)))
                raise UserError(f"retry names {outcome!r}; allowed: {allowed}")

    def retried(self) -> frozenset[str]:
        return OUTCOMES - NEVER_RETRIED if RETRY_ALL in self.retry else frozenset(self.retry)


@dataclass(frozen=True)
class PlannedShard:
    """The clips of one shard, those of a video one after the other."""

    name: str
    clips: list[Clip]
    local: bool
    """Whether local sources held all of them when this was planned; else none."""


@dataclass(frozen=True)
class Plan:
    """The clips of one run in the order of its shards. Frozen before the run starts."""

    table: pa.Table
    """Columns as in `SCHEMA`: `source` is where the clip was found when planned (`local`, `network`, `archives-N` for
    the N-th group of archives, `before-archives`), times are null for whole videos. The clips of a shard follow each
    other, and so do those of a video within it."""

    def __len__(self) -> int:
        return len(self.table)

    def clip_ids(self) -> list[str]:
        """The clips, in the plan's order."""
        return cast(list[str], self.table["clip_id"].to_pylist())

    def shard_names(self) -> list[str]:
        """The shards' names in the plan's order, which is also the best order to begin them in."""
        return cast(list[str], self.table["shard"].unique().to_pylist())

    def of_shards(self, names: Collection[str]) -> Plan:
        """The part of the plan that is about some shards."""
        return Plan(self.table.filter(pc.is_in(self.table["shard"], pa.array(list(names), pa.string()))))

    def shards(self, names: Collection[str] | None = None, *, local: bool | None = None) -> Iterator[PlannedShard]:
        """The shards, in the plan's order; those of `names` and of one kind alone, where these are given.

        Clips are made of the table a few thousand at a time, so that a plan of millions takes its table's memory.
        """
        chosen: list[tuple[str, bool, int, int]] = []
        rows = 0
        for name, is_local, begin, end in self.extents():
            if (names is None or name in names) and local in (None, is_local):
                chosen.append((name, is_local, begin, end - begin))
                rows += end - begin
            if rows >= ROWS_AT_ONCE:
                yield from self._made(chosen)
                chosen, rows = [], 0
        yield from self._made(chosen)

    def _made(self, extents: Sequence[tuple[str, bool, int, int]]) -> Iterator[PlannedShard]:
        if not extents:
            return
        from kinetics_pipeline.annotations.columns import clips_of

        clips = clips_of(pa.concat_tables([self.table.slice(begin, count) for _, _, begin, count in extents]))
        for name, is_local, _, count in extents:
            yield PlannedShard(name, list(islice(clips, count)), is_local)

    def extents(self) -> Iterator[tuple[str, bool, int, int]]:
        """Yields each shard's name, whether local sources hold it, its first row and the row behind its last."""
        if not len(self):
            return
        shards, sources = (pc.dictionary_encode(self.table[name].combine_chunks()) for name in ("shard", "source"))
        codes, kinds = (one.indices.to_numpy(zero_copy_only=False) for one in (shards, sources))
        begins = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(kinds, prepend=-1) != 0)).tolist()
        names, origins = shards.dictionary.to_pylist(), sources.dictionary.to_pylist()
        for begin, end in zip(begins, [*begins[1:], len(self)], strict=True):
            yield names[codes[begin]], origins[kinds[begin]] != NETWORK, begin, end

    @property
    def archive_group(self) -> int | None:
        """The group of archives whose clips these are, or `BEFORE_ARCHIVES`; None for a plan of all sources."""
        named = _ARCHIVES.fullmatch(self.table["source"][0].as_py() or "") if len(self) else None
        return None if named is None else BEFORE_ARCHIVES if named["group"] is None else int(named["group"])

    def frame(self) -> pd.DataFrame:
        """The clips as `read_annotations` gives them: None for no label or path, NaN for no times. With the plan's
        columns."""
        from kinetics_pipeline.annotations.columns import as_frame

        return as_frame(self.table)

    def to_parquet_bytes(self) -> bytes:
        """The same bytes for the same plan and the same pyarrow."""
        stream = io.BytesIO()
        pq.write_table(self.table, stream, compression="zstd")
        return stream.getvalue()

    @classmethod
    def from_parquet_bytes(cls, data: bytes) -> Plan:
        """Raises ValueError when the bytes are no plan."""
        return cls(read_columns(data))


def source_of_group(archive_group: int) -> str:
    """What the column `source` says of clips that a group of archives holds; `Plan.archive_group` reads it."""
    return "before-archives" if archive_group == BEFORE_ARCHIVES else f"archives-{archive_group}"


def read_columns(data: bytes | memoryview, names: Sequence[str] | None = None) -> pa.Table:
    """Columns of a plan, all by default, from the bytes of its file. Raises ValueError when they are no plan, and for
    one of more than `MOST_ROWS` rows or `MOST_BYTES` bytes: whose dataset it is, is not known."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = plan_schema(set(file.schema_arrow.names))
        if names is not None:
            schema = pa.schema([schema.field(name) for name in names])
        _require_bounded(file.metadata.num_rows, MOST_ROWS, "rows")
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        _require_bounded(sum(group.total_byte_size for group in groups), MOST_BYTES, "bytes unpacked")
        # As numbers into a dictionary, as they are stored: one long text may stand for millions of rows.
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=[f.name for f in schema if f.type == pa.string()])
        return _read_within(file, schema, MOST_BYTES)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ValueError(f"no plan: {error}") from error


def _read_within(file: pq.ParquetFile, schema: pa.Schema, most: int) -> pa.Table:
    """Column after column, at most `ROWS_READ_AT_ONCE` rows at a time. Raises ValueError beyond `most` bytes."""
    columns, taken = [], 0
    for field in schema:
        chunks = []
        for batch in file.iter_batches(batch_size=ROWS_READ_AT_ONCE, columns=[field.name]):
            column = batch.column(field.name)
            taken += _bytes_unpacked(column)
            _require_bounded(taken, most, "bytes unpacked")
            chunks.append(column.cast(field.type))
        columns.append(pa.chunked_array(chunks, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _bytes_unpacked(column: pa.Array) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return (pc.sum(lengths.cast(pa.int64())).as_py() or 0) + 4 * len(column)


def _require_bounded(number: int, most: int, what: str) -> None:
    if number > most:
        raise ValueError(f"it has {number} {what}; allowed: up to {most}")


def make_plan(
    asked: pd.DataFrame | pa.Table,
    *,
    outcomes: Mapping[str, str] | pa.Table,
    settings: PlanSettings,
    held_locally: Callable[[Iterable[Clip]], Collection[str]],
    next_shard: Mapping[str, int],
    archive_group: int | None = None,
) -> Plan:
    """Plans the clips of `asked` (as `read_annotations` gives them, or as Arrow columns) that have no outcome, or one
    to be retried.

    `outcomes`: what became of a clip, by clip_id, or a table of `clip_id` and `outcome`; the clips of an unfinished
    plan must be finished first.
    `held_locally`: of some clips the clip_ids that local sources hold; asked once, of the clips to be planned alone.
    `next_shard`: for each split the number of its next shard; 0 where there is none yet.
    `archive_group`: the group of archives that hold those held locally.
    Raises UserError for a class or split that no row has.
    """
    from kinetics_pipeline.annotations.columns import ClipsOfTable, as_columns, outcome_table, rows_with, without_clips
    from kinetics_pipeline.annotations.fixed_order import ordered

    known = outcome_table(outcomes)
    done = known["clip_id"].filter(pc.invert(rows_with(known["outcome"], settings.retried())))
    if settings.limit is None and settings.per_class is None:
        todo = ordered(without_clips(_selected(as_columns(asked), settings), done))
    else:
        todo = without_clips(in_order(asked, settings).slice(0, settings.limit), done)
    held = held_locally(ClipsOfTable(todo))
    local = pc.is_in(todo["clip_id"], pa.array(list(held), pa.string())).to_numpy().astype(bool)
    shards = _packed(todo, local, settings.clips_per_shard)
    source = LOCAL if archive_group is None else source_of_group(archive_group)
    return Plan(_table(todo, local, shards, dict(next_shard), source))


def in_order(asked: pd.DataFrame | pa.Table, settings: PlanSettings) -> pa.Table:
    """The clips that `settings` leave, but for its `limit`, in the fixed order. Raises as `make_plan` does."""
    from kinetics_pipeline.annotations.columns import as_columns, number_among_equals
    from kinetics_pipeline.annotations.fixed_order import ordered

    clips = ordered(_selected(as_columns(asked), settings))
    if settings.per_class is None:
        return clips
    return clips.filter(pa.array(number_among_equals(clips["label"]) < settings.per_class))


def _selected(asked: pa.Table, settings: PlanSettings) -> pa.Table:
    from kinetics_pipeline.annotations.checks import normalised_split
    from kinetics_pipeline.annotations.columns import rows_with

    splits = None if settings.splits is None else {normalised_split(split) for split in settings.splits}
    if splits is not None:
        _require("split", splits, set(asked["split"].unique().to_pylist()))
    if settings.classes is not None:
        _require("class", set(settings.classes), set(asked["label"].unique().to_pylist()) - {None})
        asked = asked.filter(rows_with(asked["label"], frozenset(settings.classes)))
    if splits is not None:
        asked = asked.filter(rows_with(asked["split"], splits))
    return asked


def _require(what: str, named: set[str], allowed: set[str]) -> None:
    if not named:
        raise UserError(f"no {what} is named; leave the choice out to take all")
    require_among(what, named, allowed, "the annotations")


def require_among(what: str, named: Iterable[str], allowed: Collection[str], where: str) -> None:
    """Raises UserError for the first name that is not allowed: it tells those that are, or the nearest of many."""
    for name in sorted(set(named).difference(allowed)):
        if len(allowed) <= 10:
            raise UserError(f"{what} {name!r} is not in {where}; allowed: {', '.join(sorted(allowed))}")
        near = difflib.get_close_matches(name, sorted(allowed), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"there are {len(allowed)}"
        raise UserError(f"{what} {name!r} is not in {where}; {hint}")


def _packed(clips: pa.Table, local: np.ndarray, clips_per_shard: int) -> list[np.ndarray]:
    """Rows of every shard, shards in the order of their first clip: splits and kinds of source advance together.

    A video goes whole into the open shard of its split and kind, or closes it and opens the next; one with more clips
    than a shard takes fills shards of its own, and its rest is the next open shard.
    """
    from kinetics_pipeline.annotations.columns import codes

    videos, groups = codes(clips["video_id"]), 2 * codes(clips["split"]) + local
    firsts: list[int] = []
    shards: list[np.ndarray] = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        begins = np.flatnonzero(np.diff(videos[rows], prepend=-1))  # a video's rows follow each other
        cuts = _cuts(begins, len(rows), clips_per_shard)
        firsts += [int(rows[first]) for _, first in cuts]
        shards += np.split(rows, [begin for begin, _ in cuts[1:]])
    return [shards[number] for number in np.argsort(firsts, kind="stable")]


def _cuts(begins: np.ndarray, clips: int, clips_per_shard: int) -> list[tuple[int, int]]:
    """Where each shard begins, and the first clip of the video with which it begins. `begins`: of the videos."""
    ends = np.append(begins[1:], clips)
    cuts: list[tuple[int, int]] = []
    video = 0
    while video < len(begins):
        begin = first = int(begins[video])
        cuts.append((begin, first))
        while ends[video] - begin > clips_per_shard:
            begin += clips_per_shard
            cuts.append((begin, first))
        video = int(np.searchsorted(ends, begin + clips_per_shard, side="right"))
    return cuts


def _table(
    clips: pa.Table, local: np.ndarray, shards: Sequence[np.ndarray], next_shard: dict[str, int], source: str
) -> pa.Table:
    names: list[str] = []
    for split in clips["split"].take(pa.array([int(rows[0]) for rows in shards], pa.int64())).to_pylist():
        number = next_shard.get(split, 0)
        next_shard[split] = number + 1
        names.append(f"{split}-{number:05d}")
    order = np.concatenate([np.empty(0, np.intp), *shards])
    shard = np.repeat(np.arange(len(shards)), [len(rows) for rows in shards])

    def column(field: pa.Field) -> pa.Array:
        if field.name == "position":
            return pa.array(np.arange(len(order), dtype=np.int32))
        if field.name == "source":
            return pc.if_else(pa.array(local[order]), source, NETWORK)
        if field.name == "shard":
            return pa.array(names, field.type).take(pa.array(shard))
        if field.name not in clips.column_names:
            return pa.nulls(len(order), field.type)
        return clips[field.name].combine_chunks().take(pa.array(order)).cast(field.type)

    schema = plan_schema(
        {name for name in JOINED.names if name in clips.column_names and pc.any(clips[name].is_valid()).as_py()}
    )
    return pa.table([column(field) for field in schema], schema=schema)


def plan_schema(there: Collection[str]) -> pa.Schema:
    """`SCHEMA`, and of `JOINED` what is `there`."""
    return pa.schema([*SCHEMA, *(field for field in JOINED if field.name in there)])
