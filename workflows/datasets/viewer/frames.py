"""The frames of a clip as the browser gets them: the shard's own JPEGs, 16 frames at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from queue import LifoQueue

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.decoding import StoredStream
from kinetics_pipeline.loading.shard_reader import Place, ShardReader

_READERS = 6
"""Clips that are read at a time: a browser asks for six."""
_QUALITY = 95
"""JPEG quality of frames that a shard holds otherwise."""


class ClipPictures:
    """Reads frames for several threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._readers: LifoQueue[ShardReader] = LifoQueue()
        for _ in range(_READERS):
            self._readers.put(ShardReader(dataset.store, dataset.recipe))

    @contextmanager
    def _reader(self) -> Iterator[ShardReader]:
        reader = self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put(reader)

    def streams(self) -> tuple[StoredStream, ...]:
        """What the dataset stores of each clip."""
        return ("rgb",) if self._dataset.recipe.flow == "none" else ("rgb", "flow")

    def middle(self, place: Place) -> bytes:
        """The RGB frame in the middle of a clip, as JPEG. Raises DamagedShard."""
        return self.frame(place, place.frames // 2, ("rgb",))["rgb"]

    def frame(
        self, place: Place, number: int, streams: tuple[StoredStream, ...] | None = None
    ) -> dict[StoredStream, bytes]:
        """One frame of a clip as JPEG, of each stream. Raises DamagedShard."""
        chunk, number = divmod(number, self._dataset.recipe.chunk_length)
        with self._reader() as reader:
            wanted = streams or self.streams()
            return {stream: jpegs[number] for stream, jpegs in self._jpegs(reader, place, chunk, wanted).items()}

    def chunk(self, place: Place, chunk: int) -> bytes:
        """A chunk's frames and flow: the length of a JSON document (uint32, little-endian), the document, the JPEGs.

        The document is `{"first": number of the first frame, "rgb": [bytes of each JPEG], "flow": [...]}`. Flow is one
        grey JPEG a frame, u over v. Raises DamagedShard, UserError for a chunk that the clip does not have.
        """
        length = self._dataset.recipe.chunk_length
        if not 0 <= chunk < -(-place.frames // length):
            raise UserError(f"clip {place.clip_id} has no chunk {chunk}")
        with self._reader() as reader:
            images = self._jpegs(reader, place, chunk, self.streams())
        sizes = {stream: [len(image) for image in jpegs] for stream, jpegs in images.items()}
        document = json.dumps({"first": chunk * length, **sizes}).encode()
        return struct.pack("<I", len(document)) + document + b"".join(j for jpegs in images.values() for j in jpegs)

    def _jpegs(
        self, reader: ShardReader, place: Place, chunk: int, streams: tuple[StoredStream, ...]
    ) -> dict[StoredStream, list[bytes]]:
        found, images = reader.images(place, [chunk], streams), {}
        for stream in streams:
            with reader.damage_named(place, chunk, stream):
                images[stream] = found[stream][0].jpegs(_QUALITY)
        return images
