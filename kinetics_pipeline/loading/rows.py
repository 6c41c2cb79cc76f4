"""`read_rows`: the rows of a dataset as numpy arrays, one after the other; needs no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading.decoding import Decoder, StoredStream
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.options import Stream, require_stream
from kinetics_pipeline.loading.selection import select
from kinetics_pipeline.loading.shard_reader import Place, ShardReader
from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.shards.codec import dequantise_flow

_CLIP_FIELDS = ("clip_id", "video_id", "time_start", "time_end", "split", "label", "class")


def read_rows(
    uri: str | os.PathLike[str],
    split: str | None = None,
    stream: Stream = "rgb",
    *,
    classes: Collection[str] | None = None,
    clips: Collection[str] | str | Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each chunk of 16 frames (the last of a clip may be shorter), in the order of the shards.

    A row says `clip_id`, `video_id`, `time_start` and `time_end` (seconds of the video; None for a whole video),
    `split`, `label` (None for none or several), `class` (the label's number, or -1), `chunk` (from 0) and
    `start_frame`. With `stream` `rgb` or `both` it has `rgb`, uint8 [n, height, width, 3]; with `flow` or `both` it has
    `flow`, float32 [n, 2, height, width], (u, v) in pixels from each frame to the next.

    `split`, `classes` and `clips` choose as in `ClipDataset`. Shards of every schema version and layout give the same
    rows. Raises UserError when nothing is left to read or the dataset has no such stream, DamagedShard that names
    shard, clip and chunk.
    """
    dataset = Dataset.open(uri)
    require_stream(stream, dataset)
    index = select(load_index(dataset), dataset, split, classes, clips, None)
    return _rows(dataset, index, ("rgb", "flow") if stream == "both" else (stream,))


def _rows(dataset: Dataset, index: pa.Table, streams: tuple[StoredStream, ...]) -> Iterator[dict[str, Any]]:
    reader, length = ShardReader(dataset.store, dataset.recipe), dataset.recipe.chunk_length
    for batch in index.to_batches(max_chunksize=1024):
        for clip in batch.to_pylist():
            place = Place.of(clip)
            known = {name: clip[name] for name in _CLIP_FIELDS}
            for chunk, start in enumerate(range(0, place.frames, length)):
                count = min(length, place.frames - start)
                images = _images(reader, place, chunk, count, streams)
                yield {**known, "chunk": chunk, "start_frame": start, **images}


def _images(
    reader: ShardReader, place: Place, chunk: int, count: int, streams: tuple[StoredStream, ...]
) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    numbers = range(count)
    whole = Snippet(np.arange(count), 0, 0, place.height, place.width, False)
    for stream, (stored,) in reader.images(place, [chunk], streams).items():
        size = [place.height, place.width, 3] if stream == "rgb" else [2, place.height, place.width]
        values = np.empty([count, *size], np.uint8)
        channels_first = np.moveaxis(values, -1 if stream == "rgb" else 1, 0)
        with reader.damage_named(place, chunk, stream):
            Decoder("rgb" if stream == "rgb" else "flow", np.empty(size, np.uint8), whole).fill(
                channels_first, numbers, stored, numbers
            )
        found[stream] = values if stream == "rgb" else dequantise_flow(values)
    return found
