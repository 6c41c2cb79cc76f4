"""Stored images into their places in a sample: decoded, cropped, channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.shards.layouts.base import StoredImages
from kinetics_pipeline.shards.layouts.raw import as_slice

StoredStream = Literal["rgb", "flow"]


class Decoder:
    """Fills samples with crops of one clip's images. JPEGs are decoded over and over into `whole`, uint8 memory of one.

    `whole` is [H, W, 3] of RGB, [2, H, W] of flow.
    """

    def __init__(self, stream: StoredStream, whole: NDArray[np.uint8], snippet: Snippet) -> None:
        self._whole = whole
        self._channels_first = (3, 0, 1, 2) if stream == "rgb" else (1, 0, 2, 3)
        self._rows = slice(snippet.top, snippet.top + snippet.height)
        self._columns = slice(snippet.left, snippet.left + snippet.width)

    def fill(self, out: NDArray[np.uint8], times: Sequence[int], images: StoredImages, numbers: Sequence[int]) -> None:
        """Fills frames `times` of `out`, uint8 [C, T, H, W], with the crops of images `numbers`, which increase, of a
        row.

        Raises ValueError or IndexError when an image is not there or not one of the size the clip has.
        """
        begin = 0
        for crops in images.crops(numbers, self._rows, self._columns, self._whole):
            end = begin + len(crops)
            out[:, as_slice(times[begin:end])] = crops.transpose(self._channels_first)
            begin = end
