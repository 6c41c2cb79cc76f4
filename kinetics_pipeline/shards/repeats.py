"""Which stored frames are the frame before them once more: a video slower than the recipe's frame rate has many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards.clip_rows import images_of


def repeats(rows: pa.RecordBatch, layout: Layout) -> NDArray[np.bool_]:
    """bool [T]: whether each RGB frame of a clip's rows has the same stored bytes as the one before it.

    The same picture gives the same JPEG, so nothing is decoded. Raises CorruptRow for a row that is not as it says.
    """
    found: list[bool] = []
    before: NDArray[np.uint8] | None = None
    for row in range(rows.num_rows):
        for image in images_of(rows, row, "rgb", layout):
            found.append(before is not None and np.array_equal(image, before))
            before = image
    return np.array(found, np.bool_)
