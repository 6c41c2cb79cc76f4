"""Samples of a batch that share one block of memory, so that putting them together copies nothing.

Samples of several sizes make no batch: whoever stacks them is told which clips they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.utils.data import default_collate

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.memory import Block, Leaving
from kinetics_pipeline.loading.transforms import STREAMS


class Batch(list[dict[str, Any]]):
    """Samples whose streams are views of `blocks`, [N, ...] each. To any other collation it is a list of samples."""

    def __init__(self, samples: Sequence[dict[str, Any]], blocks: Mapping[str, Block]) -> None:
        super().__init__(samples)
        self.blocks = dict(blocks)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # a worker whose collation leaves it as it is sends its samples


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `collate_fn` for `ClipDataset`: like torch's own, but without copying what lies together already.

    Returns `video` (and `flow`) [N, C, T, H, W], `label` int64 [N], `clip_id` (a list), and what else samples have.
    Raises UserError that names two clips of different sizes.
    """
    if not isinstance(samples, Batch):
        return dict(default_collate(named_when_stacked(list(samples))))
    rest = [{name: value for name, value in sample.items() if name not in samples.blocks} for sample in samples]
    streams = {name: block.values for name, block in samples.blocks.items()}
    return Leaving({**streams, **default_collate(rest)}, samples.blocks)


class OfClip(torch.Tensor):
    """A stream of a sample that lies in one batch with a sample of another size.

    It is a tensor like any other, and what is computed from it is a plain one. Only where it is stacked with others,
    by whatever `collate_fn`, does the error name the clips: torch's own says nothing of them.
    """

    clip_id: str

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            try:
                return func(*args, **(kwargs or {}))
            except RuntimeError:
                if func in (torch.stack, torch.cat):
                    _require_one_size(args[0] if args else (kwargs or {})["tensors"])
                raise

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain, (self.as_subclass(torch.Tensor),)


def _plain(values: torch.Tensor) -> torch.Tensor:
    return values


def named_when_stacked(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples; where their videos differ in size, as tensors that name their clips when they are stacked."""
    streams = [name for name in STREAMS if all(isinstance(s.get(name), torch.Tensor) for s in samples)]
    if not streams or len({tuple(sample[streams[0]].shape) for sample in samples}) == 1:
        return samples
    for sample in samples:
        for name in streams:
            sample[name] = sample[name].as_subclass(OfClip)
            sample[name].clip_id = str(sample.get("clip_id"))
    return samples


def _require_one_size(tensors: Sequence[torch.Tensor]) -> None:
    """Raises UserError that names two clips whose tensors have different shapes."""
    named = [(tensor.clip_id, list(tensor.shape)) for tensor in tensors if isinstance(tensor, OfClip)]
    for (one, size), (other, another) in pairwise(named):
        if size != another:
            raise UserError(
                f"clips {one} and {other} make no batch: they are {size} and {another}; give frames and crop, or take "
                "one at a time"
            )
