"""Which stored frames are the frame before them once more: a video slower than the recipe's frame rate has many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards.layouts import layout_named
from kinetics_pipeline.shards.layouts.base import binary_strings


def repeats(rows: pa.RecordBatch, layout: Layout, frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool [T]: whether each RGB frame of a clip's rows is the one before it once more. `frames`: uint8 [T, H, W, 3].

    Where a frame has bytes of its own, whether those are the same: the same picture gives the same JPEG, and so may one
    that differs by noise alone. Elsewhere whether all values are.
    """
    pictures: Sequence[NDArray[np.uint8]] = list(frames)
    if layout_named(layout).rgb.by_image:
        column = rows.column(rows.schema.get_field_index("rgb"))
        pictures = [image for row in range(rows.num_rows) for image in binary_strings(column, row)]
    return np.array([False, *(np.array_equal(*pair) for pair in pairwise(pictures))], np.bool_)
