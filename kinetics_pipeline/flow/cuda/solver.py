"""A batch of pairs through the pyramid, on the device; the host only launches.

How long a pair goes on is decided on the device (`kernels`). After every `POLL` iterations the device lists the pairs
that go on, and what it launches next is theirs alone. The host learns their number one such block later, so that it
never waits for an empty queue: its launches may have more programs than pairs are listed, which return at once.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from kinetics_pipeline.flow.cuda import kernels
from kinetics_pipeline.flow.cuda.deferred_number import DeferredNumber
from kinetics_pipeline.flow.cuda.tiling import Tiling, tiling_for
from kinetics_pipeline.flow.images import centred_gradient, pyramid, upsample
from kinetics_pipeline.flow.parameters import TVL1

POLL = 6
"""Iterations between two lists. A multiple of 2 and of 3, the numbers of copies that launches take in turn: a recorded
block of launches begins and ends with the same copies."""

UNMOVED = 2**62
"""What `change` holds before the first iteration of a warp: more than any sum (`kernels.MOST`)."""


def bytes_per_pair(height: int, width: int) -> int:
    """Device memory a pair takes: 18 planes of state on its level, its frame and gradients on all levels, and flow."""
    return height * width * 4 * (18 + 3 * 3 + 6)


@torch.no_grad()
def solve(
    frames: Tensor, first_frames: Tensor, parameters: TVL1, *, graphs: bool = False, tiling: Tiling | None = None
) -> Tensor:
    """float32 [N, 2, H, W] of uint8 [T, H, W]: pair n is frame first_frames[n] (int32 [N]) and the one after it.

    graphs: record `POLL` launches of a level once and replay them (CUDA graphs), which saves the host's time where few
    pairs leave the device waiting for launches. tiling: None for the table's (`tiling`). The result is the same.
    """
    form = tiling or default_tiling(frames.device)
    levels = pyramid(frames, parameters)
    uv = torch.zeros(2, len(first_frames), *levels[-1].shape[1:], device=frames.device)
    for images in reversed(levels):
        if uv.shape[-2:] != images.shape[-2:]:
            uv = upsample(uv, images.shape[-2], images.shape[-1], parameters)
        level = Level(images, first_frames, uv, parameters, graphs, form)
        for _ in range(parameters.warps):
            level.warp()
            level.solve_warp()
        uv = level.newest_flow()
        if graphs:
            torch.cuda.current_stream().synchronize()  # a graph is not to be destroyed while it runs
        del level  # before the next, larger one is allocated
    return uv.transpose(0, 1).contiguous()


def default_tiling(device: torch.device) -> Tiling:
    """What the table says for this GPU; for the newest that it knows where there is none (the interpreter)."""
    return tiling_for(torch.cuda.get_device_capability(device) if device.type == "cuda" else (99, 0))


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
        self.change = images.new_zeros(3, self.pairs, dtype=torch.int64)
        self.made = images.new_zeros(3, self.pairs, dtype=torch.int32)
        self.all_pairs = torch.arange(self.pairs, dtype=torch.int32, device=images.device)
        self.live = self.all_pairs.clone()
        self.live_count = images.new_zeros(1, dtype=torch.int32)
        self.listed = self.pairs
        """Pairs that launches are made for: as many as `live` lists, or more."""
        self.now = 0
        self.threshold = parameters.epsilon**2 * self.height * self.width * kernels.ONE
        self.recorded: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    def warp(self) -> None:
        """Samples the second images where the flow points now; all pairs go on again."""
        images = (self.images, self.image_x, self.image_y, self.first_frames)
        size = (self.pairs, self.height, self.width)
        kernels.warp[(self.tiles, self.pairs)](*images, self.flow, self.data, self.made, self.now, *size, **self.launch)
        self.change[self.now] = UNMOVED
        self.live.copy_(self.all_pairs)
        self.listed = self.pairs

    def solve_warp(self) -> None:
        """Outer rounds (each a median filter and `innerIterations`) until every pair has stopped."""
        last: DeferredNumber | None = None
        for _ in range(self.parameters.outerIterations):
            if self.parameters.medianFiltering > 1:
                self.median()
            left = self.parameters.innerIterations
            while left > 0:
                self.iterate(min(POLL, left))
                left -= POLL
                number = self.list_live()
                if last is not None:
                    self.listed = last.result()
                    if not self.listed:
                        return
                last = number

    def median(self) -> None:
        grid = (self.tiles, 2 * self.listed)
        state = (self.live, self.flow, self.filtered, *self._stops())
        kernels.median[grid](*state, *self._size(), side=self.parameters.medianFiltering, **self.launch)
        kernels.take_filtered[grid](*state, *self._size(), **self.launch)

    def list_live(self) -> DeferredNumber:
        """Takes the pairs that have stopped off the list; their number is known when the device comes to it."""
        block = min(1024, triton.next_power_of_2(self.pairs))
        state = (self.live, self.live_count, *self._stops(), self.pairs)
        kernels.list_live[(1,)](*state, block=block, enable_fp_fusion=True)
        return DeferredNumber(self.live_count)

    def iterate(self, count: int) -> None:
        if not self.graphs or count != POLL:
            self._launch(count, self.listed)
            return
        rows = min(self.pairs, triton.next_power_of_2(self.listed))
        if (key := (self.now, rows)) not in self.recorded:
            self._launch(count, rows)  # compiles, which cannot be recorded
            self.recorded[key] = self._record(count, rows)
        else:
            self.recorded[key].replay()

    def _record(self, count: int, rows: int) -> torch.cuda.CUDAGraph:
        """`count` launches, recorded and not run. (`torch.cuda.graph` collects garbage first, which takes longer.)"""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            self._launch(count, rows)
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph

    def _launch(self, count: int, rows: int) -> None:
        p = self.parameters
        weights = (p.lambda_ * p.theta, p.theta, p.tau / p.theta)
        for _ in range(count):
            state = (self.live, self.flow, self.dual, self.data, *self._stops())
            kernels.iterate[(self.tiles, rows)](*state, *weights, *self._size(), **self.launch)
            self.now = (self.now + 1) % 3

    def _stops(self) -> tuple[Tensor, Tensor, int, float]:
        return self.change, self.made, self.now, self.threshold

    def _size(self) -> tuple[int, int, int]:
        return self.pairs, self.height, self.width

    def newest_flow(self) -> Tensor:
        """[2, N, H, W]"""
        copies = (self.made[self.now] % 2).long()
        return self.flow[copies, torch.arange(self.pairs, device=copies.device)].transpose(0, 1)
