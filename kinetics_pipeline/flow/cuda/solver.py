"""A batch of pairs through the pyramid, on the device; the host only launches.

How long a pair goes on is decided on the device (`kernels`). The host merely wants to stop launching when all pairs are
done with a warp: after every `POLL` iterations it asks whether any goes on, launches the next `POLL`, and only then
waits for the answer. So the device always has work in its queue, and what is launched in vain returns at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from kinetics_pipeline.flow.cuda import kernels
from kinetics_pipeline.flow.cuda.deferred_check import DeferredCheck
from kinetics_pipeline.flow.images import centred_gradient, pyramid, upsample
from kinetics_pipeline.flow.parameters import TVL1


@dataclass(frozen=True)
class Tiling:
    """The pixels of a program, and the warps that share them. Two pixels a thread keep all of it in registers."""

    height: int = 16
    width: int = 64
    warps: int = 16

    def arguments(self) -> dict[str, Any]:
        # Multiply-adds are fused whatever Triton's default: a result depends on nothing but its input.
        return {"tile_h": self.height, "tile_w": self.width, "num_warps": self.warps, "enable_fp_fusion": True}


TILING = Tiling()
POLL = 10
"""Iterations between two checks; even, so that a recorded run of them begins and ends with the same copies."""


def bytes_per_pair(height: int, width: int) -> int:
    """Device memory a pair takes: 18 planes of state on its level, its frame and gradients on all levels, and flow."""
    return height * width * 4 * (18 + 3 * 3 + 6)


@torch.no_grad()
def solve(
    frames: Tensor, first_frames: Tensor, parameters: TVL1, *, graphs: bool = False, tiling: Tiling = Tiling()
) -> Tensor:
    """float32 [N, 2, H, W] of uint8 [T, H, W]: pair n is frame first_frames[n] (int32 [N]) and the one after it.

    graphs: record `POLL` launches of a level once and replay them (CUDA graphs), which saves the host's time where few
    pairs leave the device waiting for launches. The result is the same.
    """
    levels = pyramid(frames, parameters)
    uv = torch.zeros(2, len(first_frames), *levels[-1].shape[1:], device=frames.device)
    for images in reversed(levels):
        if uv.shape[-2:] != images.shape[-2:]:
            uv = upsample(uv, images.shape[-2], images.shape[-1], parameters)
        level = Level(images, first_frames, uv, parameters, graphs, tiling)
        for _ in range(parameters.warps):
            level.warp()
            level.solve_warp()
        uv = level.newest_flow()
        if graphs:
            torch.cuda.current_stream().synchronize()  # a graph is not to be destroyed while it runs
        del level  # before the next, larger one is allocated
    return uv.transpose(0, 1).contiguous()


class Level:
    """The state of a batch on one level of the pyramid. Layouts: see `kernels`."""

    def __init__(
        self, images: Tensor, first_frames: Tensor, uv: Tensor, parameters: TVL1, graphs: bool, tiling: Tiling
    ) -> None:
        self.parameters, self.first_frames, self.images, self.graphs = parameters, first_frames, images, graphs
        self.launch = tiling.arguments()
        self.image_x, self.image_y = (gradient.contiguous() for gradient in centred_gradient(images))
        self.pairs, self.height, self.width = len(first_frames), images.shape[-2], images.shape[-1]
        self.tiles = triton.cdiv(self.height, tiling.height) * triton.cdiv(self.width, tiling.width)
        planes = (self.height, self.width)
        self.flow = torch.stack([uv.transpose(0, 1)] * 2).contiguous()
        self.dual = images.new_zeros(2, self.pairs, 4, *planes)
        self.data = images.new_empty(self.pairs, 4, *planes)
        self.filtered = images.new_empty(self.pairs, 2, *planes)
        self.change = images.new_empty(2, self.pairs, self.tiles)
        self.made = torch.zeros(2, self.pairs, dtype=torch.int32, device=images.device)
        self.now = 0
        self.threshold = parameters.epsilon**2 * self.height * self.width
        self.recorded: dict[int, torch.cuda.CUDAGraph] = {}

    def warp(self) -> None:
        """Samples the second images where the flow points now; all pairs go on again."""
        images = (self.images, self.image_x, self.image_y, self.first_frames)
        size = (self.pairs, self.height, self.width)
        kernels.warp[(self.tiles, self.pairs)](*images, self.flow, self.data, self.made, self.now, *size, **self.launch)
        self.change[self.now] = float("inf")

    def solve_warp(self) -> None:
        """Outer rounds (each a median filter and `innerIterations`) until every pair has stopped."""
        check: DeferredCheck | None = None
        for _ in range(self.parameters.outerIterations):
            if self.parameters.medianFiltering > 1:
                self.median()
            left = self.parameters.innerIterations
            while left > 0:
                self.iterate(min(POLL, left))
                left -= POLL
                if check is not None and not check.result():
                    return
                check = DeferredCheck(self.change[self.now])

    def median(self) -> None:
        grid, tail = (self.tiles, 2 * self.pairs), self._tail()
        state = (self.flow, self.filtered, self.change, self.made, self.now, self.threshold)
        kernels.median[grid](*state, *tail, side=self.parameters.medianFiltering, **self.launch)
        kernels.take_filtered[grid](*state, *tail, **self.launch)

    def iterate(self, count: int) -> None:
        if not self.graphs or count != POLL:
            self._launch(count)
        elif self.now in self.recorded:
            self.recorded[self.now].replay()
        else:
            self._launch(count)  # compiles, which cannot be recorded
            self.recorded[self.now] = self._record(count)

    def _record(self, count: int) -> torch.cuda.CUDAGraph:
        """`count` launches, recorded and not run. (`torch.cuda.graph` collects garbage first, which takes longer.)"""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            self._launch(count)
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph

    def _launch(self, count: int) -> None:
        p = self.parameters
        weights = (p.lambda_ * p.theta, p.theta, p.tau / p.theta)
        for _ in range(count):
            state = (self.flow, self.dual, self.data, self.change, self.made, self.now, self.threshold)
            kernels.iterate[(self.tiles, self.pairs)](*state, *weights, *self._tail(), **self.launch)
            self.now = 1 - self.now

    def _tail(self) -> tuple[int, ...]:
        return self.pairs, self.height, self.width, self.tiles, max(128, triton.next_power_of_2(self.tiles))

    def newest_flow(self) -> Tensor:
        """[2, N, H, W]"""
        copies = (self.made[self.now] % 2).long()
        return self.flow[copies, torch.arange(self.pairs, device=copies.device)].transpose(0, 1)
