"""Reads the rows of a clip from a shard: opened when first needed, kept open, closed when many others are."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.payload import CorruptRow, images_of
from kinetics_pipeline.shards.storage import Store
from kinetics_pipeline.shards.writer import data_name

_OPEN = 32
"""More than the shards of a sampler's window, so that a window is opened once."""


class DamagedShard(JobFailed):
    """A shard that does not hold what its marker says. Named with clip and chunk; nothing is put in its place."""


class ShardReader:
    """The open shards of one process. Pickled or forked it starts with none: no handle crosses a process border."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._layout = store, layout
        self._reset()

    def __getstate__(self) -> dict[str, Any]:
        return {"_store": self._store, "_layout": self._layout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._checked: set[tuple[str, int, int, str]] = set()

    def images(
        self, shard: str, clip_id: str, first_row: int, position: int, chunks: Sequence[int], streams: Sequence[str]
    ) -> dict[str, list[list[NDArray[np.uint8]]]]:
        """The stored images of some chunks of a clip, for each stream a list of images a chunk (`payload.images_of`).

        `first_row` and `position` say where the clip lies in the shard. Every row is checked: it must be that of the
        clip and chunk, and its images must have the CRC it says; in the array layout, whose CRC costs more than its
        reading, once a process. Raises DamagedShard.
        """
        if self._process != os.getpid():
            self._reset()  # forked: a handle's file position is shared with the parent
        try:
            rows = self._rows(shard, first_row, position, chunks, streams)
            if len(rows) != len(chunks):
                raise CorruptRow(f"{len(rows)} rows where {len(chunks)} were asked")
        except FileNotFoundError:
            raise DamagedShard(f"{self._place(shard)}: the data file is missing, though its marker is there") from None
        except (pa.ArrowException, OSError, ValueError, IndexError, KeyError) as e:
            reason = " ".join(str(e).split())
            raise DamagedShard(f"{self._place(shard)}, clip {clip_id}, chunk {chunks[0]}: {reason}") from e
        found: dict[str, list[list[NDArray[np.uint8]]]] = {stream: [] for stream in streams}
        for chunk, (batch, row) in zip(chunks, rows, strict=True):
            for stream in streams:
                try:
                    found[stream].append(self._checked_images(shard, clip_id, position, chunk, batch, row, stream))
                except (pa.ArrowException, ValueError) as e:
                    raise self.damaged(shard, clip_id, chunk, f"{stream}: {e}") from e
        return found

    def damaged(self, shard: str, clip_id: str, chunk: int, reason: str) -> DamagedShard:
        """The error to raise for a chunk whose images are not what was written."""
        return DamagedShard(f"{self._place(shard)}, clip {clip_id}, chunk {chunk}: {' '.join(reason.split())}")

    def _place(self, shard: str) -> str:
        return f"{self._store.uri}/{data_name(shard, self._layout)}"

    def _checked_images(
        self, shard: str, clip_id: str, position: int, chunk: int, batch: pa.RecordBatch, row: int, stream: str
    ) -> list[NDArray[np.uint8]]:
        said = [batch.column(name)[row].as_py() for name in ("clip_id", "chunk")]
        if said != [clip_id, chunk]:
            raise CorruptRow(f"the row there is of clip {said[0]}, chunk {said[1]}")
        images = images_of(batch, row, stream, self._layout)
        key = (shard, position, chunk, stream)
        if key not in self._checked:
            wanted, crc = batch.column(f"crc_{stream}")[row].as_py(), codec.crc_of_images(images)
            if crc != wanted:
                raise CorruptRow(
                    f"CRC {crc:#010x} where the row says {wanted if wanted is None else f'{wanted:#010x}'}"
                )
            if self._layout == "array":
                self._checked.add(key)
        return images

    def _rows(
        self, shard: str, first_row: int, position: int, chunks: Sequence[int], streams: Sequence[str]
    ) -> list[tuple[pa.RecordBatch, int]]:
        handle = self._handle(shard)
        if self._layout == "array":
            clip = handle.get_batch(position)
            return [(clip, chunk) for chunk in chunks if chunk < clip.num_rows]
        columns = ["clip_id", "chunk", "n", "height", "width"]
        for stream in streams:
            columns += [f"{stream}.list.element", f"crc_{stream}"]
        table = handle.read_row_groups([first_row + chunk for chunk in chunks], columns=columns, use_threads=False)
        return [(batch, row) for batch in table.to_batches() for row in range(batch.num_rows)]

    def _handle(self, shard: str) -> Any:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        name = data_name(shard, self._layout)
        local = self._store.local_path(name)
        if self._layout == "array":
            handle = pa.ipc.open_file(self._store.open_input(name) if local is None else pa.memory_map(str(local)))
        else:
            source = self._store.open_input(name) if local is None else str(local)
            handle = pq.ParquetFile(source, pre_buffer=local is None)
        self._open[shard] = handle
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return handle
