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
from kinetics_pipeline.loading.memory import Block, SharedBatch
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
    return SharedBatch({**streams, **default_collate(rest)}, samples.blocks)


class UnstackableTensor(torch.Tensor):
    """A stream of a sample that lies in one batch with a sample of another size.

    It is a tensor like any other, and what is computed from it is a plain one. Only where it cannot be stacked with
    the others, by whatever `collate_fn`, does the error name clips: torch's own says nothing of them.
    """

    problem: str

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            try:
                result = func(*args, **(kwargs or {}))
            except RuntimeError as error:
                problems = [value.problem for value in _tensors_of(args, kwargs) if isinstance(value, cls)]
                if func in _STACKING and problems:
                    raise UserError(problems[0]) from error
                raise
            if func is torch.Tensor.new:  # torch's collation in a worker: the memory it stacks into
                (given,) = [value for value in args if isinstance(value, cls)]
                result = _named(result, given.problem)
            return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain, (self.as_subclass(torch.Tensor),)


_STACKING = (torch.stack, torch.cat, torch.Tensor.resize_)


def _tensors_of(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> list[Any]:
    """The tensors among a function's arguments, those of its first list among them."""
    given = [*args, *(kwargs or {}).values()]
    return [one for value in given for one in (value if isinstance(value, list | tuple) else [value])]


def _named(values: torch.Tensor, problem: str) -> UnstackableTensor:
    named = values.as_subclass(UnstackableTensor)
    named.problem = problem
    return named


def _plain(values: torch.Tensor) -> torch.Tensor:
    return values


def named_when_stacked(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples; where their streams differ in size, as tensors that name two clips when they are stacked."""
    for name in STREAMS:
        streams = [sample.get(name) for sample in samples]
        if not all(isinstance(stream, torch.Tensor) for stream in streams):
            continue
        for one, other in pairwise(samples):
            size, another = list(one[name].shape), list(other[name].shape)
            if size != another:
                problem = (
                    f"clips {one.get('clip_id')} and {other.get('clip_id')} make no batch: they are {size} and "
                    f"{another}; give frames and crop, or take one at a time"
                )
                for sample in samples:
                    sample[name] = _named(sample[name], problem)
                break
    return samples
