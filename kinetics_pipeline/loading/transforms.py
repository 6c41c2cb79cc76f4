"""From stored uint8 values to what a model takes, on the device: nothing float crosses a process border.

A flip mirrors the columns, and motion to the right becomes motion to the left: u is negated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted

STREAMS = ("video", "flow")
"""What samples call them."""


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
    raise ValueError(f"{counted(channels, 'channel')}; allowed: 3 (RGB) or 2 (flow)")


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
    `flip`. The rest goes along: `label` to the device, `clip_id` as it is. Raises ValueError for another number of
    channels than 3 or 2.
    """
    flips = batch["flip"].to(device, non_blocking=True)
    moved = {name: value for name, value in batch.items() if name not in (*STREAMS, "flip")}
    moved["label"] = batch["label"].to(device, non_blocking=True)
    for name in STREAMS:
        if name in batch:
            stored = batch[name].to(device, non_blocking=True).contiguous()
            moved[name] = normalise(torch.where(flips.view(-1, 1, 1, 1, 1), mirror(stored), stored))
    return moved


def finished(values: Mapping[str, torch.Tensor], flip: bool) -> dict[str, torch.Tensor]:
    """The streams of one sample, uint8 [C, T, H, W], as float32 in [-1, 1]; mirrored where `flip` says so."""
    return {name: normalise(mirror(stored) if flip else stored) for name, stored in values.items()}


def transformed(values: Mapping[str, torch.Tensor], transform: Callable[..., Any]) -> dict[str, torch.Tensor]:
    """The streams of one sample, uint8 [C, T, H, W], after a user's function of uint8 [T, C, H, W] each.

    Two streams are given to it together, so that one random crop is that of both. Raises UserError for what is not
    uint8 [T, C, H, W] with the same C.
    """
    given = [stored.transpose(0, 1) for stored in values.values()]
    answer = transform(*given)
    results = [answer] if len(given) == 1 else answer
    if not isinstance(results, list | tuple) or len(results) != len(given):
        raise UserError(
            f"transform returned {type(answer).__name__}; allowed: {counted(len(given), 'tensor')}, RGB and flow"
        )
    for before, after in zip(given, results, strict=True):
        if not isinstance(after, torch.Tensor) or after.dtype != torch.uint8 or after.ndim != 4:
            raise UserError(f"transform returned {_told(after)}; allowed: uint8 [T, C, H, W]")
        if after.shape[1] != before.shape[1]:
            raise UserError(f"transform returned {_told(after)}; allowed: C = {before.shape[1]}")
    return {name: after.transpose(0, 1) for name, after in zip(values, results, strict=True)}


def _told(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
