"""Samples of a batch that share one block of memory, so that putting them together copies nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch.utils.data import default_collate

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.memory import Block, Leaving


class Batch(list[dict[str, Any]]):
    """Samples whose streams are views of `blocks`, [N, ...] each. To any other collation it is a list of samples."""

    def __init__(self, samples: Sequence[dict[str, Any]], blocks: Mapping[str, Block]) -> None:
        super().__init__(samples)
        self.blocks = dict(blocks)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # a worker whose collation leaves it as it is sends its samples


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `collate_fn` for `ClipDataset`: like torch's own, but without copying what lies together already."""
    if not isinstance(samples, Batch):
        try:
            return dict(default_collate(list(samples)))
        except RuntimeError:
            _require_one_size(samples)
            raise
    rest = [{name: value for name, value in sample.items() if name not in samples.blocks} for sample in samples]
    streams = {name: block.values for name, block in samples.blocks.items()}
    return Leaving({**streams, **default_collate(rest)}, samples.blocks)


def _require_one_size(samples: Sequence[dict[str, Any]]) -> None:
    """Raises UserError where the clips of `ClipDataset`'s samples differ in it."""
    named = [(s["clip_id"], list(s["video"].shape)) for s in samples if {"video", "clip_id"} <= s.keys()]
    for (one, size), (other, another) in pairwise(named):
        if size != another:
            raise UserError(
                f"clips {one} and {other} make no batch: they are {size} and {another}; give frames and crop, or take "
                "one at a time"
            )
