"""Asking a GPU something without making it wait."""

from __future__ import annotations

import torch
from torch import Tensor


class Question:
    """Whether any of `values` is not zero at this point of the device's queue."""

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._found = values.any()
        if values.is_cuda:
            self._found = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(self._found, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def answer(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return bool(self._found)
