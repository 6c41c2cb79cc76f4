"""Reads the rows of a clip from a shard: opened when first needed, kept open, closed when many others are."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.loading.copies import Copies, CopyAhead
from kinetics_pipeline.loading.plain_rows import PlainRows
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.clip_rows import CorruptRow, Images, stored_images
from kinetics_pipeline.shards.data_file import data_name
from kinetics_pipeline.shards.schema import version_of
from kinetics_pipeline.storage.store import Store

_OPEN = 32
"""More than the shards of a sampler's window, so that a window is opened once."""


_NUMBERS = ("first_row", "position", "frames", "height", "width")
_IDENTITY = ("clip_id", "chunk", "label")
_Row = tuple[pa.RecordBatch, int, tuple[Any, ...]]
"""A batch, the number of a row in it, and the row's clip_id, chunk and label."""


class DamagedShard(JobFailed):
    """A shard that does not hold what its marker says. Named with clip and chunk; nothing is put in its place."""


@dataclass(frozen=True)
class Place:
    """Where a clip lies, as the index says, and what its rows must say of themselves."""

    shard: str
    clip_id: str
    label: int
    first_row: int
    position: int
    """Among the clips of the shard that are ok."""
    frames: int
    height: int
    width: int

    @classmethod
    def of(cls, clip: Mapping[str, Any]) -> Place:
        """The place of a row of the index (`selection.select`'s), whose `class` is the label that the rows say."""
        return cls(clip["shard"], clip["clip_id"], clip["class"], *(clip[name] for name in _NUMBERS))


class ShardReader:
    """The open shards of one process. Pickled or forked it starts with none: no handle crosses a process border."""

    def __init__(self, store: Store, recipe: Recipe, copy_ahead: CopyAhead | None = None) -> None:
        self._store, self._recipe, self._copy_ahead = store, recipe, copy_ahead
        self._layout = recipe.layout
        self._reset()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_store", "_recipe", "_copy_ahead", "_layout")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._open: OrderedDict[str, tuple[Any, PlainRows | None]] = OrderedDict()
        self._checked: set[tuple[str, int, int, str]] = set()
        self._copies: Copies | None = None
        self._ahead: tuple[str, ...] = ()

    def need(self, shards: tuple[str, ...]) -> None:
        """The shards that are read next, in order: of a remote dataset they are copied, and others closed."""
        if self._copy_ahead is None or (shards == self._ahead and self._process == os.getpid()):
            return
        if self._process != os.getpid():
            self._reset()
        if self._copies is None:
            self._copies = Copies(self._store, self._layout, self._copy_ahead)
            weakref.finalize(self, self._copies.close)
        self._ahead = shards
        for shard in self._open.keys() - set(shards):
            del self._open[shard]
        self._copies.want(shards)

    def images(self, place: Place, chunks: Sequence[int], streams: Sequence[str]) -> dict[str, list[Images]]:
        """The stored images of some chunks of a clip, for each stream and each chunk those of `clip_rows.images_of`.

        Every row is checked: it must be that of the clip, its label and the chunk, and its images must have the CRC it
        says; in the array layout, whose CRC costs more than its reading, once a process. Raises DamagedShard.
        """
        if self._process != os.getpid():
            self._reset()  # forked: a handle's file position is shared with the parent
        try:
            handle, plain = self._handle(place.shard)
            if plain is not None:
                images = self._plain_images(plain, place, chunks, streams)
                if images is not None:
                    return images
            rows = self._rows(handle, place, chunks, streams)
            if len(rows) != len(chunks):
                raise CorruptRow(f"{counted(len(rows), 'row')} where {len(chunks)} were asked")
        except FileNotFoundError:
            raise DamagedShard(
                f"{self._name(place.shard)}: the data file is missing, though its marker is there"
            ) from None
        except (pa.ArrowException, OSError, ValueError, IndexError, KeyError) as e:
            raise self.damaged(place, chunks[0], str(e)) from e
        found: dict[str, list[Images]] = {stream: [] for stream in streams}
        for chunk, (batch, row, identity) in zip(chunks, rows, strict=True):
            for stream in streams:
                try:
                    if identity != (place.clip_id, chunk, place.label):
                        raise CorruptRow(
                            f"the row there is of clip {identity[0]}, chunk {identity[1]}, label {identity[2]}"
                        )
                    found[stream].append(self._checked_images(place, chunk, batch, row, stream))
                except (pa.ArrowException, ValueError) as e:
                    raise self.damaged(place, chunk, f"{stream}: {e}") from e
        return found

    def damaged(self, place: Place, chunk: int, reason: str) -> DamagedShard:
        """The error to raise for a chunk whose images are not what was written."""
        if self._copies is not None:
            self._copies.discard(place.shard)
        return DamagedShard(
            f"{self._name(place.shard)}, clip {place.clip_id}, chunk {chunk}: {' '.join(reason.split())}"
        )

    def _name(self, shard: str) -> str:
        return f"{self._store.uri}/{data_name(shard, self._layout)}"

    def _count(self, place: Place, chunk: int) -> int:
        """Images of a chunk."""
        length = self._recipe.chunk_length
        return min(length, place.frames - chunk * length)

    def _plain_images(
        self, plain: PlainRows, place: Place, chunks: Sequence[int], streams: Sequence[str]
    ) -> dict[str, list[Images]] | None:
        """What `images` gives; None where a row is not plain, or not as it should be: Arrow tells how."""
        found: dict[str, list[Images]] = {stream: [] for stream in streams}
        for chunk in chunks:
            identity = (place.clip_id, chunk, place.label)
            images = plain.images(place.first_row + chunk, identity, self._count(place, chunk), streams)
            if images is None:
                return None
            for stream in streams:
                found[stream].append(images[stream])
        return found

    def _checked_images(self, place: Place, chunk: int, batch: pa.RecordBatch, row: int, stream: str) -> Images:
        size = (self._count(place, chunk), place.height, place.width)
        images = stored_images(batch.column(stream), row, stream, self._layout, size)
        key = (place.shard, place.position, chunk, stream)
        if key not in self._checked:
            wanted, crc = batch.column(f"crc_{stream}")[row].as_py(), codec.crc_of_images(images)
            if crc != wanted:
                raise CorruptRow(
                    f"CRC {crc:#010x} where the row says {wanted if wanted is None else f'{wanted:#010x}'}"
                )
            if self._layout == "array":
                self._checked.add(key)
        return images

    def _rows(self, handle: Any, place: Place, chunks: Sequence[int], streams: Sequence[str]) -> list[_Row]:
        if self._layout == "array":
            clip = handle.get_batch(place.position)
            clip.validate(full=True)  # offsets that lead out of the file would end the process
            identities = _identities(clip)
            return [(clip, chunk, identities[chunk]) for chunk in chunks if chunk < clip.num_rows]
        columns = [*_IDENTITY]
        for stream in streams:
            columns += [f"{stream}.list.element", f"crc_{stream}"]
        table = handle.read_row_groups(
            [place.first_row + chunk for chunk in chunks], columns=columns, use_threads=False
        )
        return [
            (batch, row, identity) for batch in table.to_batches() for row, identity in enumerate(_identities(batch))
        ]

    def _handle(self, shard: str) -> tuple[Any, PlainRows | None]:
        """The open shard, and the same for its plain rows where it has them."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        name = data_name(shard, self._layout)
        local = self._store.local_path(name) or (self._copies.path(shard) if self._copies else None)
        if self._layout == "array":
            handle = pa.ipc.open_file(self._store.open_input(name) if local is None else pa.memory_map(str(local)))
            schema = handle.schema
        else:
            source = self._store.open_input(name) if local is None else str(local)
            handle = pq.ParquetFile(source, pre_buffer=local is None)
            schema = handle.schema_arrow
        if version_of(schema, self._layout) is None:
            raise CorruptRow("its columns are not those of a shard")
        plain = None
        if local is not None and self._layout == "parquet":
            plain = PlainRows(local, handle.metadata, schema)
        self._open[shard] = handle, plain
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return self._open[shard]


def _identities(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(batch.column(name).to_pylist() for name in _IDENTITY), strict=True))
