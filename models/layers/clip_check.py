"""Checks of the clips that an architecture is called on."""

from __future__ import annotations

from torch import Tensor

from kinetics_pipeline.models.errors import InputError


def check_clip(model: str, clip: Tensor, channels: int, least_frames: int = 1) -> None:
    """Raises InputError unless `clip` is a float [N, channels, T >= least_frames, H, W] of at least one value."""
    shape = tuple(clip.shape)
    if clip.ndim != 5:
        raise InputError(f"{model} takes clips [N, C, T, H, W], not {clip.ndim} axes {shape}")
    if not clip.is_floating_point():
        raise InputError(f"{model} takes floating-point clips in [-1, 1], not {clip.dtype}")
    if shape[1] != channels:
        raise InputError(f"{model} was built for {channels} channels, not {shape[1]} (clip {shape})")
    if shape[2] < least_frames:
        raise InputError(f"{model} takes clips of at least {least_frames} frames, not {shape[2]}")
    if 0 in shape:
        raise InputError(f"{model} takes clips with at least one value, not {shape}")
