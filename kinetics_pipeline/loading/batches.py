"""Samples of a batch that share one block of memory, so that putting them together copies nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        _require_one_size(samples)
        return dict(default_collate(list(samples)))
    rest = [{name: value for name, value in sample.items() if name not in samples.blocks} for sample in samples]
    streams = {name: block.values for name, block in samples.blocks.items()}
    return Leaving({**streams, **default_collate(rest)}, samples.blocks)


def _require_one_size(samples: Sequence[dict[str, Any]]) -> None:
    first, *others = samples
    for other in others:
        if (one := tuple(first["video"].shape)) != (another := tuple(other["video"].shape)):
            raise UserError(
                f"clips {first['clip_id']} and {other['clip_id']} make no batch: they are {list(one)} and "
                f"{list(another)}; give frames and crop, or take one at a time"
            )
