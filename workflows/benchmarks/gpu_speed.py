"""What flow reaches on a GPU: pairs a second, times of the kernels, and their share of the memory's bandwidth."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from kinetics_pipeline.flow import TVL1, cuda
from kinetics_pipeline.flow.cuda.solver import Level, default_tiling, solve
from kinetics_pipeline.flow.cuda.tiling import Tiling
from kinetics_pipeline.flow.images import pyramid

BAR, AIM = 1500, 4000
"""Pairs a second at 256x340; the aim is for an H200."""
FORMS = (Tiling(), Tiling(4, 64, 4), Tiling(8, 64, 8), Tiling(16, 32, 8), Tiling(8, 64, 4), Tiling(16, 64, 16))
PLANES = {"iterate": 16, "warp": 10, "median": 8}
"""float32 values a pixel must at least be read and written: by an iteration, a warp, a median of both components."""


def machine() -> Iterator[str]:
    device = torch.cuda.get_device_properties(0)
    yield f"{device.name}, {device.multi_processor_count} SMs, {device.total_memory / 2**30:.0f} GiB"
    yield f"torch {torch.__version__}, CUDA {torch.version.cuda}, triton {triton.__version__}"
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem,utilization.gpu", "--format=csv,noheader"]
    try:
        yield "driver, clocks, use: " + subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        yield "nvidia-smi does not answer"


def solve_on_device(
    frames: NDArray[np.uint8], *, graphs: bool = False, tiling: Tiling | None = None, copies: int = 1
) -> NDArray[np.float32]:
    """Flow of `copies` times the pairs of a clip in one batch, without cutting it to the memory."""
    first_frames = torch.arange(len(frames) - 1, dtype=torch.int32, device="cuda").repeat(copies)
    return solve(torch.tensor(frames, device="cuda"), first_frames, TVL1(), graphs=graphs, tiling=tiling).cpu().numpy()


def report(clip: NDArray[np.uint8], time_left: Callable[[], bool]) -> Iterator[str]:
    pairs = len(clip) - 1
    bandwidth = _copy_bandwidth()
    yield f"copying reaches {bandwidth / 1e12:.2f} TB/s"
    yield from _kernels(clip, bandwidth)
    rates = {}
    for name, run, count in (
        (f"one clip, {pairs} pairs, as tvl1 does it", partial(cuda.flow, clip, TVL1()), pairs),
        ("one clip, on the device", partial(solve_on_device, clip), pairs),
        ("one clip, on the device, CUDA graphs", partial(solve_on_device, clip, graphs=True), pairs),
        ("four clips, on the device", partial(solve_on_device, clip, copies=4), 4 * pairs),
        ("four clips, on the device, CUDA graphs", partial(solve_on_device, clip, copies=4, graphs=True), 4 * pairs),
        ("16 pairs, on the device", partial(solve_on_device, clip[:17]), 16),
        ("16 pairs, on the device, CUDA graphs", partial(solve_on_device, clip[:17], graphs=True), 16),
    ):
        if time_left():
            try:
                rates[name] = count / _seconds(run)
            except torch.cuda.OutOfMemoryError:
                yield f"{name}: does not fit into this GPU"
                continue
            yield f"{name}: {rates[name]:.0f} pairs/s"
    best = max(rates.values(), default=0)
    yield f"bar {BAR} pairs/s {'met' if best >= BAR else 'missed'}, aim {AIM} {'met' if best >= AIM else 'missed'}"
    if best:
        yield f"Kinetics-400 (76 million pairs): {76e6 / best / 3600:.1f} GPU-hours"
    yield from _forms(clip, time_left)


def _forms(clip: NDArray[np.uint8], time_left: Callable[[], bool]) -> Iterator[str]:
    """The trial of forms that proposes a row of `flow.cuda.tiling`. Every form gives the same flow (`stability`)."""
    rates: dict[Tiling, float] = {}
    for tiling in FORMS:
        if time_left():
            rates[tiling] = (len(clip) - 1) / _seconds(partial(solve_on_device, clip, tiling=tiling))
            yield f"{tiling}: {rates[tiling]:.0f} pairs/s"
    if rates:
        yield f"proposed for the table: {torch.cuda.get_device_capability()}: {max(rates, key=rates.__getitem__)}"


def _seconds(run: Callable[[], object], rounds: int = 3) -> float:
    """Median wall time; the first run, which compiles, is not counted."""
    run()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _device_seconds(run: Callable[[], object], repeats: int = 20) -> float:
    """Mean time of a launch on the device, after one that is not counted."""
    run()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / repeats


def _copy_bandwidth() -> float:
    """Bytes read and written a second by a copy of 1 GiB."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / _device_seconds(lambda: target.copy_(source))


@torch.no_grad()
def _kernels(clip: NDArray[np.uint8], bandwidth: float) -> Iterator[str]:
    """Every kernel alone, on all levels of one clip, with no pair stopping (epsilon 0)."""
    frames, endless = torch.tensor(clip, device="cuda"), TVL1(epsilon=0)
    pairs = len(clip) - 1
    first_frames = torch.arange(pairs, dtype=torch.int32, device="cuda")
    for images in pyramid(frames, endless):
        height, width = images.shape[-2:]
        uv = 0.1 * torch.randn(2, pairs, height, width, device="cuda")
        level = Level(images, first_frames, uv, endless, False, default_tiling(frames.device))
        level.warp()
        for name, run in (("warp", level.warp), ("median", level.median), ("iterate", partial(level.iterate, 1))):
            seconds = _device_seconds(run)
            moved = 4 * PLANES[name] * pairs * height * width / seconds
            share = moved / bandwidth
            yield f"{name} {height}x{width}, {pairs} pairs: {seconds * 1e6:.0f} us, {share:.0%} of a copy's bandwidth"
