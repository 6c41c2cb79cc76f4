"""Samples of a batch that share one block of memory, so that putting them together copies nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import default_collate

from kinetics_pipeline.loading.memory import Block, Leaving


class Batch(list[dict[str, Any]]):
    """Samples whose streams are views of `blocks`, [N, ...] each. To any other collation it is a list of samples."""

    def __init__(self, samples: Sequence[dict[str, Any]], blocks: Mapping[str, Block]) -> None:
        super().__init__(samples)
        self.blocks = dict(blocks)


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `collate_fn` for `ClipDataset`: like torch's own, but without copying what lies together already."""
    if not isinstance(samples, Batch):
        return dict(default_collate(list(samples)))
    rest = [{name: value for name, value in sample.items() if name not in samples.blocks} for sample in samples]
    streams = {name: block.values for name, block in samples.blocks.items()}
    return Leaving({**streams, **default_collate(rest)}, samples.blocks)
