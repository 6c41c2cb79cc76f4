"""Everything about flow and training that only a GPU can show, in one command of a few minutes.

    python -m workflows.benchmarks.gpu_check

Needs torch with CUDA, triton, numba, numpy and plain OpenCV, nothing else of this project's dependencies. It ends with
1 when a check fails; speeds are printed beside their bars and fail nothing. Without a GPU it says so, and ends with 0.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import TVL1, require_backend, tvl1
from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.workflows.benchmarks import scenes
from kinetics_pipeline.workflows.building.placement.probe import trouble_with

REFERENCE = Path(__file__).with_name("flow_reference.npz")
SIZE = (256, 340)
BUDGET = 420
"""Seconds after which what is only measured, not checked, is left out."""
FIXED = {"epsilon": 0.0, "innerIterations": 6, "outerIterations": 2}


@dataclass(frozen=True)
class Check:
    what: str
    right: bool
    found: str


def main() -> int:
    began = time.perf_counter()
    try:
        require_backend("cuda")
    except UserError as reason:
        print(f"gpu-check: nothing checked, {reason}")
        return 0
    from kinetics_pipeline.workflows.benchmarks import gpu_speed

    for line in gpu_speed.machine():
        print(line)
    failed = 0
    for section in (conformance, stability, memory, sanitizer, training):
        print(f"\n{section.__name__}, {time.perf_counter() - began:.0f} s")
        try:
            for check in section():
                print(f"  {'ok  ' if check.right else 'FAIL'} {check.what}: {check.found}", flush=True)
                failed += not check.right
        except Exception as error:  # noqa: BLE001 -- the one call on a rented GPU is to answer all that it can
            print(f"  FAIL {type(error).__name__}: {error}")
            failed += 1
    print(f"\nspeed, {time.perf_counter() - began:.0f} s")
    try:
        for line in gpu_speed.report(clip_of_250(), lambda: time.perf_counter() - began < BUDGET):
            print(f"  {line}", flush=True)
    except Exception as error:  # noqa: BLE001 -- as above
        print(f"  FAIL {type(error).__name__}: {error}")
        failed += 1
    print(
        f"\ngpu-check: {'all checks passed' if not failed else f'{failed} failed'}, {time.perf_counter() - began:.0f} s"
    )
    return 1 if failed else 0


def clip_of_250() -> NDArray[np.uint8]:
    """uint8 [250, 256, 340]: ten seconds of generated video, played forwards and backwards; no two pairs are alike."""
    there = scenes.clip(26, *SIZE)
    forwards_and_backwards = itertools.cycle([*range(26), *range(24, 0, -1)])
    return np.stack([np.roll(there[k], t // 50, 1) for t, k in zip(range(250), forwards_and_backwards, strict=False)])


def conformance() -> Iterator[Check]:
    """Against OpenCV's flow from a file, against known motion, and against the PyTorch reference."""
    yield Check("the pair that a build tries first", (trouble := trouble_with("cuda")) == "", trouble or "flow found")
    stored = np.load(REFERENCE)
    moved = (scenes.shift(1.5, -0.75, 96, 128), scenes.rotation(1, 96, 128), scenes.zoom(1.02, 96, 128))
    known = {scene.name.split()[0]: scene for scene in moved}
    for name in (key.removesuffix("_frames") for key in stored if key.endswith("_frames")):
        frames, opencv = stored[f"{name}_frames"], stored[f"{name}_flow"].astype(np.float32)
        allowed = 0.05 if name in known else 0.02
        for backend in ("cuda", "torch", "cpu"):
            flow = tvl1(frames, backend)[0]
            error = scenes.endpoint_error(flow, opencv)
            yield Check(f"{backend} against OpenCV, {name}", error <= allowed, f"EPE {error:.4f} px")
            if backend == "cuda" and name in known:
                ours, theirs = known[name].error(flow), known[name].error(opencv)
                yield Check(f"{known[name].name}", ours <= 1.05 * theirs, f"{ours:.4f} px, OpenCV {theirs:.4f} px")
        for side in (5, 3, 1):
            flow, reference = (tvl1(frames, backend, medianFiltering=side, **FIXED) for backend in ("cuda", "torch"))
            error = scenes.endpoint_error(flow, reference)
            what = f"kernels against PyTorch at fixed iterations, {name}, median {side}"
            yield Check(what, error <= 1e-3, f"{error:.1e} px")
    for height, width in ((3, 3), (15, 200), (33, 1031)):
        frames = scenes.clip(2, height, width)
        error = scenes.endpoint_error(tvl1(frames, "cuda", **FIXED), tvl1(frames, "cpu", **FIXED))
        yield Check(f"{height}x{width} against cpu at fixed iterations", error <= 1e-3, f"{error:.1e} px")


def stability() -> Iterator[Check]:
    """The same bytes again, in any batch, with and without CUDA graphs; the same iterations in any form."""
    from kinetics_pipeline.flow import cuda
    from kinetics_pipeline.workflows.benchmarks.gpu_speed import FORMS, solve_on_device

    frames = scenes.clip(9, *SIZE)
    flow = tvl1(frames, "cuda")
    yield Check("a second run", np.array_equal(tvl1(frames, "cuda"), flow), "same bytes")
    yield Check("a pair alone", np.array_equal(tvl1(frames[3:5], "cuda")[0], flow[3]), "same bytes as in a batch")
    both = cuda.flow_of_clips([frames, frames[2:6]], TVL1())
    yield Check(
        "two clips", np.array_equal(both[1], flow[2:5]) and np.array_equal(both[0], flow), "same bytes as alone"
    )
    graphs = solve_on_device(frames, graphs=True)
    yield Check("CUDA graphs", np.array_equal(graphs, flow), "same bytes as launches")
    for form in FORMS:
        error = scenes.endpoint_error(solve_on_device(frames, tiling=form), flow)
        yield Check(f"{form}", error <= 1e-3, f"EPE {error:.1e} px against the table's form")
    same = np.array_equal(cuda.flow(frames, TVL1(), quantised=True), quantise_flow(flow))
    yield Check("8 bits made on the device", same, "same bytes as of floats")
    yield Check("identical frames", not tvl1(frames[[0, 0, 0]], "cuda").any(), "zero flow")
    error = scenes.endpoint_error(flow, tvl1(frames, "cpu"))
    yield Check("cuda against cpu at 256x340", error <= 0.02, f"EPE {error:.4f} px")


def memory() -> Iterator[Check]:
    """A batch is cut to the memory there is, and halved when that was too much."""
    import torch

    from kinetics_pipeline.flow.cuda.solver import bytes_per_pair

    frames = scenes.clip(17, *SIZE)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    flow = tvl1(frames, "cuda")
    pair = (torch.cuda.max_memory_allocated() - before) / (len(frames) - 1)
    expected = bytes_per_pair(*SIZE)
    yield Check(
        "memory of a pair", pair <= expected, f"{pair / 2**20:.1f} MiB, expected at most {expected / 2**20:.1f}"
    )
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((before + 5.5 * pair) / total)
    try:
        small = tvl1(frames, "cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    yield Check("memory for five pairs of sixteen", np.array_equal(small, flow), "halved batches, same bytes")


def sanitizer() -> Iterator[Check]:
    """Races and accesses outside an allocation, by NVIDIA's compute-sanitizer where it is installed."""
    tool = shutil.which("compute-sanitizer") or next(
        (path for path in ("/usr/local/cuda/bin/compute-sanitizer",) if os.access(path, os.X_OK)), None
    )
    if tool is None:
        print("  not installed here (it comes with the CUDA toolkit): skipped")
        return
    code = (
        "from kinetics_pipeline.flow import tvl1; from kinetics_pipeline.workflows.benchmarks import scenes; "
        "tvl1(scenes.clip(3, 50, 70), 'cuda', warps=1, nscales=2, outerIterations=2, innerIterations=6)"
    )
    for kind in ("memcheck", "racecheck"):
        command = [tool, "--tool", kind, "--error-exitcode", "9", sys.executable, "-c", code]
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=75, env=environment, check=False)
        except subprocess.TimeoutExpired:
            print(f"  {kind}: not done after 75 s, left out")
            continue
        summary = [line for line in done.stdout.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
        yield Check(kind, done.returncode == 0, (summary or [done.stderr.strip()[-200:]])[-1].strip("= "))


def training() -> Iterator[Check]:
    """One step of I3D on the GPU and on the CPU: the same loss, and weights that move."""
    import torch

    from kinetics_pipeline.models import build_model

    torch.manual_seed(0)
    video, label = torch.rand(2, 3, 16, 64, 64) * 2 - 1, torch.tensor([1, 2])
    losses: dict[tuple[str, str], float] = {}
    start = build_model("i3d", num_classes=5).state_dict()
    for device in ("cpu", "cuda"):
        model = build_model("i3d", num_classes=5).to(device).eval()  # eval: no dropout, so that the losses are the same
        model.load_state_dict(start)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in ("before", "after"):
            loss = torch.nn.functional.cross_entropy(model(video.to(device)), label.to(device))
            losses[device, step] = loss.item()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    gap = max(abs(losses["cpu", step] - losses["cuda", step]) for step in ("before", "after"))
    yield Check("loss as on the CPU", gap <= 1e-2, f"apart by {gap:.1e}")
    before, after = losses["cuda", "before"], losses["cuda", "after"]
    yield Check("a step lowers it", after < before, f"{before:.4f} to {after:.4f}")


if __name__ == "__main__":
    sys.exit(main())
