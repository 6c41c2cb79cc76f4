"""Samples of a batch that share one block of memory, so that putting them together copies nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import default_collate, get_worker_info


class Batch(list[dict[str, Any]]):
    """Samples whose streams are views of `blocks`, [N, ...] each. To any other collation it is a list of samples."""

    def __init__(self, samples: Sequence[dict[str, Any]], blocks: Mapping[str, torch.Tensor]) -> None:
        super().__init__(samples)
        self.blocks = dict(blocks)


def empty_block(shape: Sequence[int]) -> torch.Tensor:
    """uint8 memory; in a DataLoader's worker it is shared, so that the batch need not be copied to be passed on."""
    if get_worker_info() is None:
        return torch.empty(tuple(shape), dtype=torch.uint8)
    size = torch.Size(shape).numel()
    storage = torch.UntypedStorage._new_shared(size)  # as torch's own default_collate does
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, torch.Size(shape))  # type: ignore[call-overload]


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `collate_fn` for `ClipDataset`: like torch's own, but without copying what lies together already."""
    if not isinstance(samples, Batch):
        return dict(default_collate(list(samples)))
    rest = [{name: value for name, value in sample.items() if name not in samples.blocks} for sample in samples]
    return {**samples.blocks, **default_collate(rest)}
