"""One stored image into its place in a sample: decoded, cropped, channels first."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.snippets import Snippet
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards import codec

StoredStream = Literal["rgb", "flow"]


class Decoder:
    """Decodes images of one size, over and over into the same memory, of which the crop is copied out."""

    def __init__(self, stream: StoredStream, layout: Layout, height: int, width: int, snippet: Snippet) -> None:
        self._stream, self._layout = stream, layout
        self._rows = slice(snippet.top, snippet.top + snippet.height)
        self._columns = slice(snippet.left, snippet.left + snippet.width)
        self._whole = np.empty((height, width, 3) if stream == "rgb" else (2, height, width), np.uint8)

    def into(self, out: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Fills `out`, uint8 [C, H, W], with the crop of a stored image.

        Raises ValueError when the image is not one of the size the clip has.
        """
        whole = self._decoded(image)
        if self._stream == "rgb":
            whole = whole.transpose(2, 0, 1)
        out[:] = whole[:, self._rows, self._columns]

    def _decoded(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._layout == "array":
            if image.shape != self._whole.shape:
                raise ValueError(f"an image of {list(image.shape)} where the marker says {list(self._whole.shape)}")
            return image
        (codec.decode_rgb if self._stream == "rgb" else codec.decode_flow)(image, self._whole)
        return self._whole
