"""Images as raw values: one byte string for all of a row, which a mapped file gives without decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.layouts.base import CorruptRow, Size, Stream, require_image


@dataclass(frozen=True)
class RawStorage:
    stream: Stream
    column = pa.large_binary()
    by_image = False

    def described(self, recipe: Recipe) -> str:
        return "uint8 [n, height, width, 3]" if self.stream == "rgb" else "uint8 [n, 2, height, width], (u, v)"

    def encoded(self, images: NDArray[np.uint8], recipe: Recipe) -> list[bytes]:
        return [images.tobytes()]

    def strings(self, count: int) -> int:
        return 1

    def stored(self, strings: list[NDArray[np.uint8]], size: Size) -> RawImages:
        count, height, width = size
        shape = (count, height, width, 3) if self.stream == "rgb" else (count, 2, height, width)
        [raw] = strings
        if len(raw) != int(np.prod(shape)):
            raise CorruptRow(f"{len(raw)} bytes of {self.stream} where the row says {list(shape)}")
        return RawImages(raw.reshape(shape))

    def quality(self, recipe: Recipe) -> None:
        return None


class RawImages:
    """`StoredImages` that are the values themselves, uint8 [n, H, W, 3] or [n, 2, H, W]."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def crc(self) -> int:
        return codec.crc_of_images(self._values)

    def crops(
        self, numbers: Sequence[int], rows: slice, columns: slice, whole: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.uint8]]:
        values = self._values
        if values.shape[1:] != whole.shape:
            raise ValueError(f"images of {values.shape[1:]} where the marker says {whole.shape}")
        require_image(numbers[-1], len(values))
        chosen = values[as_slice(numbers)]
        yield chosen[:, rows, columns] if whole.shape[-1] == 3 else chosen[..., rows, columns]

    def jpegs(self, quality: int) -> list[bytes]:
        encode = codec.encode_rgb if self._values.shape[-1] == 3 else codec.encode_flow
        return [encode(np.ascontiguousarray(image), quality) for image in self._values]

    def h264(self) -> None:
        return None


def as_slice(numbers: Sequence[int]) -> slice | list[int]:
    """Numbers a fixed step apart as a slice, which numpy copies by without gathering first."""
    first, last = numbers[0], numbers[-1]
    step = numbers[1] - first if len(numbers) > 1 else 1
    if step < 1 or list(numbers) != list(range(first, last + 1, step)):
        return list(numbers)
    return slice(first, last + 1, step)
