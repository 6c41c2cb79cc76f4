"""Images as JPEGs, one each: a list of byte strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.layouts.base import CorruptRow, Size, Stream

_Decode = Callable[[codec.Bytes, NDArray[np.uint8], int | None], None]


@dataclass(frozen=True)
class JpegStorage:
    stream: Stream
    encode: Callable[[NDArray[np.uint8], int], bytes]
    decode: _Decode
    column = pa.list_(pa.field("element", pa.binary(), nullable=False))
    by_image = True

    def described(self, recipe: Recipe) -> str:
        if self.stream == "rgb":
            return f"JPEG 4:2:0, quality {recipe.rgb_quality}"
        return f"grey JPEG [2 * height, width], u over v, quality {recipe.flow_quality}"

    def encoded(self, images: NDArray[np.uint8], recipe: Recipe) -> list[bytes]:
        quality = self.quality(recipe)
        return [self.encode(image, quality) for image in images]

    def strings(self, count: int) -> int:
        return count

    def stored(self, strings: list[NDArray[np.uint8]], size: Size) -> JpegImages:
        if len(strings) != size[0]:
            raise CorruptRow(f"{len(strings)} {self.stream} images where the row says {size[0]}")
        return JpegImages(strings, self.decode)

    def quality(self, recipe: Recipe) -> int:
        return recipe.rgb_quality if self.stream == "rgb" else recipe.flow_quality


class JpegImages:
    """`StoredImages` that are JPEGs. They are decoded over and over into one memory."""

    def __init__(self, images: list[NDArray[np.uint8]], decode: _Decode) -> None:
        self._images, self._decode = images, decode

    def __len__(self) -> int:
        return len(self._images)

    def crc(self) -> int:
        return codec.crc_of_images(self._images)

    def crops(
        self, numbers: Sequence[int], rows: slice, columns: slice, whole: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.uint8]]:
        crop = whole[rows, columns] if whole.shape[-1] == 3 else whole[..., rows, columns]
        for number in numbers:
            self._decode(self._images[number], whole, rows.stop)
            yield crop[None]

    def jpegs(self, quality: int) -> list[bytes]:
        return [bytes(image) for image in self._images]

    def h264(self) -> None:
        return None


RGB_JPEGS = JpegStorage("rgb", codec.encode_rgb, codec.decode_rgb)
FLOW_JPEGS = JpegStorage("flow", codec.encode_flow, codec.decode_flow)
