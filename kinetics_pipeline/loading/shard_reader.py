"""Reads the rows of a clip from a shard: opened when first needed, kept open, closed when many others are."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.loading.copies import Copies, CopyAhead
from kinetics_pipeline.loading.plain_rows import PlainRows
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards.clip_rows import stored_images
from kinetics_pipeline.shards.data_file import data_name
from kinetics_pipeline.shards.layouts import layout_named
from kinetics_pipeline.shards.layouts.base import CorruptRow, OpenChunks, Size, StoredImages
from kinetics_pipeline.shards.schema import version_of
from kinetics_pipeline.storage.store import Store

_OPEN = 32
"""More than the shards of a sampler's window, so that a window is opened once."""


_NUMBERS = ("first_row", "position", "frames", "height", "width")
_IDENTITY = ("clip_id", "chunk", "label", "height", "width")
_Row = tuple[pa.RecordBatch, int, tuple[Any, ...]]
"""A batch, the number of a row in it, and what the row says of itself (`_IDENTITY`)."""
_Images = dict[str, list[StoredImages]]
"""For each stream, the images of each chunk."""


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

    def identity(self, chunk: int) -> tuple[str, int, int, int, int]:
        """What the row of a chunk says of itself: clip, chunk, label, height, width."""
        return self.clip_id, chunk, self.label, self.height, self.width


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
        self._open: OrderedDict[str, tuple[OpenChunks, PlainRows | None]] = OrderedDict()
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

    def images(self, place: Place, chunks: Sequence[int], streams: Sequence[str]) -> _Images:
        """The stored images of some chunks of a clip, for each stream and each chunk those of `clip_rows.images_of`.

        Every row is checked: it must be that of the clip, its label and the chunk, and its images must have the CRC it
        says; where a CRC costs more than reading (the array layout), once a process. Raises DamagedShard.
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
        found: _Images = {stream: [] for stream in streams}
        for chunk, (batch, row, identity) in zip(chunks, rows, strict=True):
            for stream in streams:
                try:
                    if identity != place.identity(chunk):
                        clip_id, number, label, height, width = identity
                        raise CorruptRow(
                            f"the row there is of clip {clip_id}, chunk {number}, label {label}, {height}x{width}"
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

    @contextmanager
    def damage_named(self, place: Place, chunk: int, stream: str = "rgb") -> Iterator[None]:
        """Within the block images of a chunk are decoded: what is wrong with them is raised as `damaged`."""
        try:
            yield
        except (IndexError, ValueError) as e:
            raise self.damaged(place, chunk, f"{stream}: {e}") from e

    def _name(self, shard: str) -> str:
        return f"{self._store.uri}/{data_name(shard, self._layout)}"

    def _size(self, place: Place, chunk: int) -> Size:
        """The size of a chunk."""
        length = self._recipe.chunk_length
        return min(length, place.frames - chunk * length), place.height, place.width

    def _plain_images(
        self, plain: PlainRows, place: Place, chunks: Sequence[int], streams: Sequence[str]
    ) -> _Images | None:
        """What `images` gives; None where a row is not plain, or not as it should be: Arrow tells how."""
        found: _Images = {stream: [] for stream in streams}
        storages = [(stream, layout_named(self._layout).storage(stream)) for stream in streams]
        for chunk in chunks:
            identity, size = place.identity(chunk), self._size(place, chunk)
            counts = {stream: storage.strings(size[0]) for stream, storage in storages}
            strings = plain.strings(place.first_row + chunk, identity, counts)
            if strings is None:
                return None
            for stream, storage in storages:
                found[stream].append(storage.stored(strings[stream], size))
        return found

    def _checked_images(self, place: Place, chunk: int, batch: pa.RecordBatch, row: int, stream: str) -> StoredImages:
        images = stored_images(batch.column(stream), row, stream, self._layout, self._size(place, chunk))
        key = (place.shard, place.position, chunk, stream)
        if key not in self._checked:
            wanted, crc = batch.column(f"crc_{stream}")[row].as_py(), images.crc()
            if crc != wanted:
                raise CorruptRow(
                    f"CRC {crc:#010x} where the row says {wanted if wanted is None else f'{wanted:#010x}'}"
                )
            if layout_named(self._layout).files.check_once:
                self._checked.add(key)
        return images

    def _rows(self, handle: OpenChunks, place: Place, chunks: Sequence[int], streams: Sequence[str]) -> list[_Row]:
        identities: dict[int, list[tuple[Any, ...]]] = {}
        rows = []
        for batch, row in handle.rows(place.first_row, place.position, chunks, streams):
            if id(batch) not in identities:
                identities[id(batch)] = _identities(batch)
            rows.append((batch, row, identities[id(batch)][row]))
        return rows

    def _handle(self, shard: str) -> tuple[OpenChunks, PlainRows | None]:
        """The open shard, and the same for its plain rows where it has them."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        name = data_name(shard, self._layout)
        local = self._store.local_path(name) or (self._copies.path(shard) if self._copies else None)
        handle = layout_named(self._layout).files.chunks(self._store.open_input(name) if local is None else local)
        if version_of(handle.columns, self._layout) is None:
            raise CorruptRow("its columns are not those of a shard")
        plain = None
        if local is not None and handle.footer is not None:
            plain = PlainRows(local, handle.footer, handle.columns)
        self._open[shard] = handle, plain
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return self._open[shard]


def _identities(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(batch.column(name).to_pylist() for name in _IDENTITY), strict=True))
