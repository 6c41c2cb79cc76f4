"""The processes that train together, as seen from one of them; a process alone is a group of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """`threads`: of torch on the CPU."""

    device: torch.device
    rank: int = 0
    size: int = 1
    threads: int | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def same(self, value: T) -> T:
        """The value that rank 0 has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def all(self, value: T) -> list[T]:
        """The values of all ranks, in order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def flag(self, number: int) -> int:
        """A small number of rank 0's, cheaply: once a step."""
        if self.size == 1:
            return number
        box = torch.tensor([number], device=self.device)
        dist.broadcast(box, src=0)
        return int(box)

    def same_buffers(self, model: nn.Module) -> None:
        """Batch norm's running statistics are each rank's own: before they are used, all take those of rank 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
