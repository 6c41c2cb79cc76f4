"""Stored images into their places in a sample: decoded, cropped, channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.clip_rows import Images

StoredStream = Literal["rgb", "flow"]


class Decoder:
    """Fills samples with crops of one clip's images. JPEGs are decoded over and over into `whole`, uint8 memory of one.

    `whole` is [H, W, 3] of RGB, [2, H, W] of flow.
    """

    def __init__(self, stream: StoredStream, whole: NDArray[np.uint8], snippet: Snippet) -> None:
        self._whole = whole
        self._decode = codec.decode_rgb if stream == "rgb" else codec.decode_flow
        self._channels = -1 if stream == "rgb" else -3
        self._rows = slice(snippet.top, snippet.top + snippet.height)
        self._columns = slice(snippet.left, snippet.left + snippet.width)
        self._crop_of_whole = self._cropped(whole)

    def fill(self, out: NDArray[np.uint8], times: Sequence[int], images: Images, numbers: Sequence[int]) -> None:
        """Fills frames `times` of `out`, uint8 [C, T, H, W], with the crops of images `numbers` of a row.

        Raises ValueError or IndexError when an image is not there or not one of the size the clip has.
        """
        if isinstance(images, np.ndarray):
            if images.shape[1:] != self._whole.shape:
                raise ValueError(f"images of {images.shape[1:]} where the marker says {self._whole.shape}")
            if numbers[-1] >= len(images):
                raise IndexError(counted(len(images), "image"))
            out[:, _slice(times)] = self._cropped(images[_slice(numbers)])
            return
        for time, number in zip(times, numbers, strict=True):
            self._decode(images[number], self._whole, self._rows.stop)
            out[:, time] = self._crop_of_whole

    def _cropped(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.moveaxis(images, self._channels, 0)[..., self._rows, self._columns]


def _slice(numbers: Sequence[int]) -> slice | list[int]:
    """Numbers a fixed step apart as a slice, which numpy copies by without gathering first."""
    first, last = numbers[0], numbers[-1]
    step = numbers[1] - first if len(numbers) > 1 else 1
    if step < 1 or list(numbers) != list(range(first, last + 1, step)):
        return list(numbers)
    return slice(first, last + 1, step)
