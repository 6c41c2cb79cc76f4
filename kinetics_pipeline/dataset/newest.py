"""The newest entry of each clip, in a table: of many clips a tenth of the memory that an object each would take."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinetics_pipeline.records import Outcome
from kinetics_pipeline.shards.markers import IN_EVERY_ENTRY, Marker

_OF_MARKER = ("file", "split")
_ROWS_AT_ONCE = 8192
_OUTCOME = pa.field("outcome", pa.string())


def newest_entries(
    markers: Iterable[Marker],
    schema: pa.Schema,
    outcome: Outcome | None = None,
    seen: Callable[[Marker], object] = lambda marker: None,
) -> pa.Table:
    """Fields of the newest entry of each clip, `clip_id` and those of its marker among them (`file`, `split`).

    A row for every clip, or every clip of that outcome, in the order of the markers and of the clips in them; null
    where an entry says nothing. Of a clip's entries that of the highest plan is the newest, and of those the last.
    `seen` is told every marker.
    """
    schema = schema if outcome is None or _OUTCOME in schema else schema.append(_OUTCOME)
    keys, plans, lengths = array("q"), array("q"), array("q")
    """The hash of each entry's clip_id, and of each marker its plan and how many entries it has."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    with tempfile.TemporaryFile() as spilled:  # rather than two copies in memory
        with pa.ipc.new_stream(spilled, schema) as stream:
            for marker in markers:
                seen(marker)
                for name, column in columns.items():
                    if name in _OF_MARKER:
                        column += [getattr(marker, name)] * len(marker.clips)
                    elif name in IN_EVERY_ENTRY:
                        column += map(itemgetter(name), marker.clips)
                    else:
                        column += [entry.get(name) for entry in marker.clips]
                keys.extend([hash(entry["clip_id"]) for entry in marker.clips])
                plans.append(marker.plan)
                lengths.append(len(marker.clips))
                if len(columns["clip_id"]) > _ROWS_AT_ONCE:
                    stream.write_batch(_batch(columns, schema))
            stream.write_batch(_batch(columns, schema))
        counts = np.ones(len(keys), np.bool_)
        counts[_superseded(spilled, np.asarray(keys), np.repeat(np.asarray(plans), np.asarray(lengths)))] = False
        batches, first = [], 0
        for batch in _batches(spilled):
            chosen = pa.array(counts[first : first + len(batch)])
            batches.append(batch.filter(pc.and_(chosen, pc.equal(batch["outcome"], outcome)) if outcome else chosen))
            first += len(batch)
        return pa.Table.from_batches(batches, schema)


def _superseded(spilled: IO[bytes], keys: NDArray[np.int64], plans: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of clips that have a newer one. `keys` are hashes of clip_ids: only rows that share one are looked at,
    as few as there are."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    rows = np.union1d(order[1:][same], order[:-1][same])
    ids, first = [pa.array([], pa.string())], 0
    for batch in _batches(spilled) if len(rows) else ():
        begin, end = np.searchsorted(rows, [first, first + len(batch)])
        ids.append(batch["clip_id"].take(pa.array(rows[begin:end] - first)))
        first += len(batch)
    clips = pa.chunked_array(ids).combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((rows, plans[rows], clips))
    older: NDArray[np.int64] = rows[order[:-1][clips[order[1:]] == clips[order[:-1]]]]
    return older


def _batch(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """The columns, which are emptied."""
    batch = pa.record_batch([pa.array(columns[field.name], field.type) for field in schema], schema)
    for column in columns.values():
        column.clear()
    return batch


def _batches(spilled: IO[bytes]) -> Iterator[pa.RecordBatch]:
    spilled.seek(0)
    yield from pa.ipc.open_stream(spilled)
