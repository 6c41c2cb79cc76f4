"""RGB as H.264: one byte string for all frames of a row. See `h264`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.recipe import Recipe, installed_encoder
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.layouts import h264
from kinetics_pipeline.shards.layouts.base import CorruptRow, Size, require_image
from kinetics_pipeline.shards.layouts.h264_headers import units_of_chunk


@dataclass(frozen=True)
class VideoStorage:
    column = pa.binary()
    by_image = False

    def described(self, recipe: Recipe) -> str:
        return f"H.264 of n frames, Annex B, 4:2:0 of full range (BT.601), crf {recipe.crf}, by {recipe.encoder}"

    def encoded(self, images: NDArray[np.uint8], recipe: Recipe) -> list[bytes]:
        """Raises JobFailed where another encoder is installed than the recipe names."""
        if (here := installed_encoder()) != recipe.encoder:
            raise JobFailed(f"this machine encodes with {here}, but the dataset is made with {recipe.encoder}")
        return [h264.encode(images, recipe.crf, recipe.fps)]

    def strings(self, count: int) -> int:
        return 1

    def stored(self, strings: list[NDArray[np.uint8]], size: Size) -> VideoImages:
        if len(strings) != 1 or not len(strings[0]):
            raise CorruptRow("a row without its H.264")
        return VideoImages(strings[0], size)

    def quality(self, recipe: Recipe) -> tuple[int, str, float]:
        return recipe.crf, recipe.encoder, recipe.fps


class VideoImages:
    """`StoredImages` that are one H.264 string."""

    def __init__(self, data: NDArray[np.uint8], size: Size) -> None:
        self._data, self._size = data, size

    def __len__(self) -> int:
        return self._size[0]

    def crc(self) -> int:
        return codec.crc_of_images([self._data])

    def crops(
        self, numbers: Sequence[int], rows: slice, columns: slice, whole: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.uint8]]:
        count, height, width = self._size
        if whole.shape != (height, width, 3):
            raise ValueError(f"images of {height}x{width} where the marker says {whole.shape}")
        require_image(numbers[-1], count)
        for crop in h264.decode(self._data, self._size, numbers, rows, columns):
            yield crop[None]

    def jpegs(self, quality: int) -> list[bytes]:
        count, height, width = self._size
        frames = h264.decode(self._data, self._size, range(count), slice(0, height), slice(0, width))
        return [codec.encode_rgb(np.ascontiguousarray(frame), quality) for frame in frames]

    def h264(self) -> bytes:
        return b"".join(units_of_chunk(self._data.tobytes(), *self._size))
