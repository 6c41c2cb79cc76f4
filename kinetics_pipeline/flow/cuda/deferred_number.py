"""A number on a GPU that is fetched while the GPU goes on."""

from __future__ import annotations

import torch
from torch import Tensor


class DeferredNumber:
    """What `values`, int32 [1], holds at this point of the device's queue."""

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if values.is_cuda:
            self._found = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._found = values.clone()

    def result(self) -> int:
        """Waits for the device to come to that point."""
        if self._event is not None:
            self._event.synchronize()
        return int(self._found)
