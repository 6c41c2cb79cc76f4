"""The sizes of an image pyramid's levels."""

from __future__ import annotations

from kinetics_pipeline.flow.parameters import TVL1

SMALLEST_LEVEL = 16
"""Pixels: OpenCV adds no level with a shorter side."""


def level_sizes(height: int, width: int, parameters: TVL1) -> list[tuple[int, int]]:
    """Height and width of every level, the full size first, each from the one before; rounded half to even (OpenCV)."""
    sizes = [(height, width)]
    while len(sizes) < parameters.nscales:
        height, width = round(height * parameters.scaleStep), round(width * parameters.scaleStep)
        if min(height, width) < SMALLEST_LEVEL:
            break
        sizes.append((height, width))
    return sizes
