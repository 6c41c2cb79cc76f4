"""How many loading processes a GPU is given, and how many cores it takes to feed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Literal

from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.recipe import Layout

SAMPLE_MS: dict[Layout, dict[Stream, float]] = {
    "parquet": {"rgb": 27.0, "flow": 23.0, "both": 49.0},
    "array": {"rgb": 3.4, "flow": 3.0, "both": 5.7},
    "video": {"rgb": 37.0, "flow": 23.0, "both": 59.0},
}
"""Milliseconds of one core for a sample of 64 x 224 x 224, as `benchmarks.loader` and `layouts` measure them."""
STEP_FLOP = 6 * 111e9
"""What a training step of I3D computes for such a sample: three times its forward pass of 111e9 multiply-adds."""
H100_FLOPS = 100e12
"""What an H100 is expected to reach of its 989e12 in bf16 on 3D convolutions; not measured."""
H100_SAMPLES = H100_FLOPS / STEP_FLOP
"""Training samples a second."""
FORWARD = 3.0
"""How many times as many samples a second a GPU takes that computes no gradients."""


def cores_for(layout: Layout, stream: Stream, crop: int | None = None, samples: float = H100_SAMPLES) -> int:
    """The loading processes, a core each, that feed a GPU which takes so many samples of 64 x 224 x 224 a second.

    More frames take both longer. A larger crop (pixels; default 224) only the GPU: a frame is decoded whole.
    """
    return max(1, ceil(samples * (224 / (crop or 224)) ** 2 * SAMPLE_MS[layout][stream] / 1000))


def cores_shown(layout: Layout) -> str:
    """The cores that an H100 takes to train on this layout."""
    rgb, both = cores_for(layout, "rgb"), cores_for(layout, "both")
    return f"{rgb} core{'s' if rgb > 1 else ''} for RGB, {both} for both streams ({layout} shards)"


def loaders_for(asked: int | Literal["auto"], needed: int, device: str, nodes: Sequence[Mapping[str, float]]) -> int:
    """The loading processes of each worker on `nodes` (each node's resources): those asked for, else as many as are
    `needed`, and no more than a GPU's share of its node's cores beside the worker's own. 1 where a CPU trains: it
    computes on the cores, and one process is far faster than it."""
    if asked != "auto":
        return asked
    shares = [int(node.get("CPU", 0) / node["GPU"]) - 1 for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cpu" or not shares:
        return 1
    return max(1, min(needed, *shares))
