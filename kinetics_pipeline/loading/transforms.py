"""From stored uint8 values to what a model takes, on the device: nothing float crosses a process border.

A flip mirrors the columns, and motion to the right becomes motion to the left: u is negated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_STREAMS = ("video", "flow")


def normalise(stored: torch.Tensor) -> torch.Tensor:
    """uint8 [..., C, T, H, W] as contiguous float32 in [-1, 1]: 3 channels are RGB, 2 are flow (u, v), over +-20 px.

    Stored flow of 128 (no motion) gives exactly 0; 0, which only JPEG can make, counts as 1. Raises ValueError for
    another number of channels.
    """
    channels = stored.shape[-4]
    if channels == 3:
        return _contiguous_floats(stored).div_(127.5).sub_(1)
    if channels == 2:
        return _contiguous_floats(stored).clamp_(min=1).sub_(128).div_(127)
    raise ValueError(f"{channels} channels; allowed: 3 (RGB) or 2 (flow)")


def _contiguous_floats(stored: torch.Tensor) -> torch.Tensor:
    """The same numbers, in memory of huge pages where it is the CPU's: numpy asks for them and torch does not, and to
    get the 38 MB of a sample page by page takes three times as long as all that is done with them."""
    if stored.device.type != "cpu":
        return stored.to(torch.float32, memory_format=torch.contiguous_format)
    return torch.from_numpy(np.empty(stored.shape, np.float32)).copy_(stored)


def mirror(stored: torch.Tensor) -> torch.Tensor:
    """uint8 [..., C, T, H, W] flipped left to right; of flow (2 channels) with u negated: 128 stays 128, 1 is 255."""
    flipped = stored.flip(-1)
    if stored.shape[-4] == 2:
        flipped.select(-4, 0).clamp_(min=1).neg_()  # modulo 256
    return flipped


def to_device(batch: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """A batch of `ClipDataset(raw=True)` as a model takes it: on `device`, in [-1, 1], its flips done.

    `video` (and `flow`) come as uint8 [N, C, T, H, W] with `flip`, bool [N]; they leave as contiguous float32, without
    `flip`. The rest goes along: `label` to the device, `clip_id` as it is.
    """
    flips = batch["flip"].to(device, non_blocking=True)
    moved = {name: value for name, value in batch.items() if name not in (*_STREAMS, "flip")}
    moved["label"] = batch["label"].to(device, non_blocking=True)
    for name in _STREAMS:
        if name in batch:
            stored = batch[name].to(device, non_blocking=True).contiguous()
            moved[name] = normalise(torch.where(flips.view(-1, 1, 1, 1, 1), mirror(stored), stored))
    return moved
