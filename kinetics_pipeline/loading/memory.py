"""Memory for batches that is used again, also when a loading process lends it to the one that trains.

Fresh memory is paid for page by page when it is first written: for a sample of 64 frames that takes longer than copying
it from the array layout. So a block whose batch is gone, wherever it went, is the next batch's.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

_SPARE = 4
"""Free blocks that are kept: of both streams, one being filled and one just given back."""
_HEADER = mmap.PAGESIZE
"""Bytes before the values of a shared block. The first is 1 while another process has the block."""


class _Slot:
    def __init__(self, size: int, shared: bool) -> None:
        self.size, self.shared = size, shared
        self._lent: NDArray[np.uint8] = np.zeros(1, np.uint8)
        if shared:
            self._file = os.memfd_create("batch")
            weakref.finalize(self, os.close, self._file)
            os.ftruncate(self._file, _HEADER + size)
            memory = mmap.mmap(self._file, _HEADER + size)
            self._lent, self._data = np.frombuffer(memory, np.uint8, 1), np.frombuffer(memory, np.uint8, -1, _HEADER)
        else:
            self._data = np.empty(size, np.uint8)  # numpy asks for huge pages, torch does not
        self._used: weakref.ref[Any] | None = None

    def is_free(self) -> bool:
        return (self._used is None or self._used() is None) and not self._lent[0]

    def take(self, shape: Sequence[int]) -> torch.Tensor:
        """uint8; while it or another view of its memory lives, the slot is not free."""
        values = self._data[: math.prod(shape)].reshape(tuple(shape))
        self._used = weakref.ref(values)  # which torch holds as long as any tensor of this memory is there
        return torch.from_numpy(values)

    def lend(self, values: torch.Tensor) -> tuple[Any, ...]:
        """The arguments of `_borrowed` in another process; until its tensor is gone there, the slot is not free."""
        self._lent[0] = 1
        return DupFd(self._file), tuple(values.shape), values.stride()


def _borrowed(file: Any, shape: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    descriptor = file.detach()
    try:
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    values = np.frombuffer(memory, np.uint8, -1, _HEADER)
    weakref.finalize(values, memory.__setitem__, 0, 0).atexit = False
    return torch.from_numpy(values).as_strided(shape, stride)


@dataclass(frozen=True)
class Block:
    """Memory of a stream of some samples: `values` is a tensor of it."""

    values: torch.Tensor
    slot: _Slot | None
    """None where the memory is not shared."""


class Blocks:
    """The memory of one process. Pickled or forked it starts with none."""

    def __init__(self) -> None:
        self._process, self._slots, self._lock = os.getpid(), list[_Slot](), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Blocks, ()

    def empty(self, shape: Sequence[int], *, to_send: bool = False) -> Block:
        """uint8 [shape] with any values; shared with the training process if `to_send` and this one loads for it."""
        if self._process != os.getpid():
            self.__init__()  # type: ignore[misc]
        shared = to_send and get_worker_info() is not None and hasattr(os, "memfd_create")
        size = math.prod(shape)
        with self._lock:
            fitting = [s for s in self._slots if s.size >= size and s.shared == shared and s.is_free()]
            slot = min(fitting, key=_size) if fitting else _Slot(size, shared)
            if not fitting or len(self._slots) > 2 * _SPARE:
                free = sorted((other for other in self._slots if other is not slot and other.is_free()), key=_size)
                unneeded = free[:-_SPARE]
                self._slots = [other for other in self._slots if other not in unneeded and other is not slot] + [slot]
            return Block(slot.take(shape), slot if shared else None)


def _size(slot: _Slot) -> int:
    return slot.size


class SharedBatch(dict[str, Any]):
    """A batch that other processes get without a copy of its blocks: there it is a plain dict of tensors.

    Made of values alone it is an ordinary batch: so trainers make another of the same type when they move one.
    """

    def __init__(self, values: Mapping[str, Any] = MappingProxyType({}), blocks: Mapping[str, Block] | None = None):
        super().__init__(values)
        self._blocks = blocks or {}

    def __reduce__(self) -> tuple[Any, ...]:
        lent = {
            name: block.slot.lend(block.values)
            for name, block in self._blocks.items()
            if block.slot is not None and self.get(name) is block.values
        }
        return _arrived, ({name: value for name, value in self.items() if name not in lent}, lent)


def _arrived(rest: dict[str, Any], lent: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {**{name: _borrowed(*what) for name, what in lent.items()}, **rest}
