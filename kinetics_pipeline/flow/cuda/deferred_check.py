"""A check of values on a GPU that lets the GPU go on: the result is fetched later."""

from __future__ import annotations

import torch
from torch import Tensor


class DeferredCheck:
    """Whether any of `values` is not zero at this point of the device's queue."""

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._found = values.any()
        if values.is_cuda:
            self._found = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(self._found, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def result(self) -> bool:
        """Waits for the device to come to that point."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._found)
