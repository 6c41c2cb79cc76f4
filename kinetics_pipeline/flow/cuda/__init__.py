"""TV-L1 on a GPU: all pairs of a clip, or of several, at once, by the Triton kernels of `kernels`.

In: uint8 [T, H, W]. Out: float32 [T-1, 2, H, W]. Begin reading with `solver`, which solves a batch of pairs; this
module cuts clips into batches that fit the GPU's free memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.flow.backends import interpreted
from kinetics_pipeline.flow.cuda.solver import bytes_per_pair, solve
from kinetics_pipeline.flow.parameters import TVL1
from kinetics_pipeline.flow.quantised import quantise_on_device

Flow = NDArray[np.float32] | NDArray[np.uint8]

SHARE_OF_FREE_MEMORY = 0.7
"""The share of the free memory that a batch may take: others may use the GPU, and torch's allocator needs some."""

MOST_PAIRS = 30_000
"""Pairs of a batch: CUDA allows 65,535 programs along a grid's second axis, and the median has two a pair."""


def flow(grey: NDArray[np.uint8], parameters: TVL1, *, quantised: bool = False) -> Flow:
    """float32 [T-1, 2, H, W] in px, (u, v), of uint8 [T, H, W]; quantised: uint8, made on the device."""
    (result,) = flow_of_clips([grey], parameters, quantised=quantised)
    return result


def flow_of_clips(clips: Sequence[NDArray[np.uint8]], parameters: TVL1, *, quantised: bool = False) -> list[Flow]:
    """The flow of several clips, uint8 [T, H, W] of one size, in common batches: short clips fill a GPU together.

    Raises UserError when sizes differ, JobFailed when the memory does not hold a single pair.
    """
    sizes = {clip.shape[1:] for clip in clips}
    if len(sizes) != 1:
        raise UserError(f"flow of several clips: sizes {sorted(sizes)}; allowed: one size")
    starts = np.cumsum([0] + [len(clip) for clip in clips])
    frames = np.concatenate(clips)
    first_frames = np.concatenate([np.arange(a, b - 1) for a, b in itertools.pairwise(starts)])
    flows = np.empty((len(first_frames), 2, *frames.shape[1:]), np.uint8 if quantised else np.float32)
    batch, done = _first_batch(frames.shape[1], frames.shape[2], len(first_frames)), 0
    while done < len(first_frames):
        chosen = first_frames[done : done + batch]
        part = _solve(frames, chosen, parameters, quantised)
        if part is None:
            if batch == 1:
                size = f"{frames.shape[2]}x{frames.shape[1]}"
                raise JobFailed(f"flow: the GPU's free memory does not hold one pair of {size} px")
            batch = -(-batch // 2)
            torch.cuda.empty_cache()
            continue
        flows[done : done + batch] = part
        done += len(chosen)
    return np.split(flows, np.cumsum([len(clip) - 1 for clip in clips])[:-1])


def _solve(
    frames: NDArray[np.uint8], first_frames: NDArray[np.int64], parameters: TVL1, quantised: bool
) -> Flow | None:
    """None when the memory was too small. What was allocated is then free, which it would not be inside `except`."""
    low, high = int(first_frames[0]), int(first_frames[-1]) + 2
    device = torch.device("cpu" if interpreted() else "cuda")
    try:
        batch = torch.tensor(frames[low:high], device=device)
        chosen = torch.tensor(first_frames - low, dtype=torch.int32, device=device)
        found = solve(batch, chosen, parameters)
        return (quantise_on_device(found) if quantised else found).cpu().numpy()
    except torch.cuda.OutOfMemoryError:
        return None


def _first_batch(height: int, width: int, pairs: int) -> int:
    if interpreted():
        return pairs
    free, _ = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    fitting = int((free + reserved) * SHARE_OF_FREE_MEMORY / bytes_per_pair(height, width))
    return max(1, min(pairs, MOST_PAIRS, fitting))
