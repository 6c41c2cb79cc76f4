"""The parts of a clip that the networks use: of Two-Stream and 3D-Fused some RGB frames, each with ten flow frames from
there on; of a long clip as many as in Table 1 of the paper, spread over it."""

from __future__ import annotations

import torch
from torch import Tensor

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.layers.clip_check import check_clip

FLOW_FRAMES = 10
FLOW_CHANNELS = 2


def check_streams(model: str, rgb: Tensor, flow: Tensor | None, channels: int) -> tuple[Tensor, Tensor]:
    """The two streams of a clip, given apart or as one tensor [N, channels + 2, T, H, W] (flow last).

    Raises InputError unless both are there, of one length and of at least ten frames.
    """
    if flow is None:
        if rgb.ndim != 5 or rgb.shape[1] != channels + FLOW_CHANNELS:
            raise InputError(
                f"{model} takes RGB [N, {channels}, T, H, W] and flow [N, 2, T, H, W], or one clip with both, "
                f"[N, {channels + FLOW_CHANNELS}, T, H, W]; not {tuple(rgb.shape)} alone"
            )
        rgb, flow = rgb[:, :channels], rgb[:, channels:]
    check_clip(f"{model} (RGB)", rgb, channels, FLOW_FRAMES)
    check_clip(f"{model} (flow)", flow, FLOW_CHANNELS, FLOW_FRAMES)
    if rgb.shape[:1] + rgb.shape[2:3] != flow.shape[:1] + flow.shape[2:3]:
        raise InputError(f"{model} takes as much flow as RGB, not {tuple(flow.shape)} with {tuple(rgb.shape)}")
    return rgb, flow


def snippet_starts(frames: int, most: int, length: int = FLOW_FRAMES) -> list[int]:
    """First frames of at most `most` snippets of `length`, evenly over a clip from its first to its last frame, as many
    as it has room for without overlap, and at least one."""
    count = max(1, min(most, frames // length))
    if count == 1:
        return [(frames - length) // 2]
    return [round(i * (frames - length) / (count - 1)) for i in range(count)]


def snippet_frames(starts: list[int]) -> dict[str, list[int]]:
    """The frames of each stream that snippets at `starts` use."""
    flow = sorted({start + k for start in starts for k in range(FLOW_FRAMES)})
    return {"rgb": sorted(set(starts)), "flow": flow}


def gather_snippets(rgb: Tensor, flow: Tensor, starts: list[int]) -> tuple[Tensor, Tensor]:
    """RGB frames [N, S, C, H, W] at `starts`, and the flow from there, stacked: [N, S, 20, H, W] (u, v of frame 1,
    u, v of frame 2, ...)."""
    pictures = rgb[:, :, starts].transpose(1, 2)
    stacks = [flow[:, :, start : start + FLOW_FRAMES].transpose(1, 2).flatten(1, 2) for start in starts]
    return pictures, torch.stack(stacks, dim=1)
