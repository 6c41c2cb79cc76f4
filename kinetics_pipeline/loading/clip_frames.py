"""Reads chosen frames and one crop of a clip: the chunks that hold them, decoded into memory that is used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading.copies import CopyAhead
from kinetics_pipeline.loading.decoding import Decoder, StoredStream
from kinetics_pipeline.loading.memory import Block, Blocks
from kinetics_pipeline.loading.shard_reader import Place, ShardReader
from kinetics_pipeline.loading.snippets import Snippet


class ClipFrames:
    """What one process reads of a dataset. Pickled or forked it starts without open files and without memory."""

    def __init__(self, dataset: Dataset, copies: CopyAhead | None) -> None:
        self._chunk_length = dataset.recipe.chunk_length
        self._reader = ShardReader(dataset.store, dataset.recipe, copies)
        self._blocks = Blocks()

    def need(self, shards: tuple[str, ...]) -> None:
        """Announces the shards that are read next, in order (names of data files)."""
        self._reader.need(shards)

    def block(self, stream: StoredStream, snippet: Snippet, samples: int, *, to_send: bool = False) -> Block:
        """Memory for a stream of some samples, uint8 [N, C, T, H, W]; RGB with the channels innermost, as it is stored.

        Moving the channels costs more than all else in the array layout: `to_device` does it, where there is a GPU on
        it.
        """
        time, high, wide = len(snippet.frames), snippet.height, snippet.width
        if stream == "rgb":
            block = self._blocks.empty([samples, time, high, wide, 3], to_send=to_send)
            return replace(block, values=block.values.permute(0, 4, 1, 2, 3))
        return self._blocks.empty([samples, 2, time, high, wide], to_send=to_send)

    def read(self, place: Place, snippet: Snippet, out: Mapping[StoredStream, NDArray[np.uint8]]) -> None:
        """Fills `out`, uint8 [C, T, H, W] of each stream, with the snippet's frames and crop. Raises DamagedShard."""
        frames: Sequence[int] = snippet.frames.tolist()
        first = {frame: time for time, frame in reversed([*enumerate(frames)])}
        parts: dict[int, tuple[list[int], list[int]]] = {}
        """The frames of each chunk: their positions in the sample, and their positions in the chunk."""
        for frame in sorted(first):
            times, numbers = parts.setdefault(frame // self._chunk_length, ([], []))
            times.append(first[frame])
            numbers.append(frame % self._chunk_length)
        images = self._reader.images(place, list(parts), tuple(out))
        for stream, values in out.items():
            size = [place.height, place.width]
            whole = self._blocks.empty([*size, 3] if stream == "rgb" else [2, *size]).values.numpy()
            decoder = Decoder(stream, whole, snippet)
            for (chunk, (times, numbers)), stored in zip(parts.items(), images[stream], strict=True):
                with self._reader.damage_named(place, chunk, stream):
                    decoder.fill(values, times, stored, numbers)
            if len(first) < len(frames):  # looped
                values[:] = values[:, [first[frame] for frame in frames]]
