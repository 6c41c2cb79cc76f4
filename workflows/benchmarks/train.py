"""Seconds and memory of a training step of I3D: ours against the settings that the public port trains with.

The port (piergiaj/pytorch-i3d) computes in 32-bit floats on contiguous tensors; we take bf16 with channels last where
one timed and checked step says that it pays. Both run here, on this machine, in processes of their own, turn about.

Bars: 2.5 times as fast on a CPU with native bf16, never slower on one without; on a GPU 150 clips of 64 x 224 x 224 a
second on an H200.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import torch
import torch.nn.functional as F

from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.precision import FP32, choose_precision

SIDES = ("port", "ours")
CLASSES = 400
MULTIPLY_ADDS = {64: 111e9, 250: 435e9}
"""Multiply-adds of one RGB clip of 224 x 224, forward; a step takes three times as many."""


def main() -> None:
    """Prints a line a side, and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m workflows.benchmarks.train", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--steps", type=int, default=3, help="timed steps a turn, after one that is not")
    parser.add_argument("--turns", type=int, default=2, help="turns of each side")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(measure(asked)))
        return
    found: dict[str, list[dict[str, float | str]]] = {side: [] for side in SIDES}
    for _ in range(asked.turns):
        for side in SIDES:
            line = [sys.executable, "-m", "kinetics_pipeline.workflows.benchmarks.train", *sys.argv[1:], "--side", side]
            done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    seconds = {side: median(float(one["seconds"]) for one in found[side]) for side in SIDES}
    print(f"I3D RGB, batch {asked.batch_size} x {asked.frames} x {asked.crop} x {asked.crop}, a training step:")
    for side in SIDES:
        one = found[side][-1]
        rate = asked.batch_size / seconds[side]
        print(f"  {side:<5} {seconds[side]:8.3f} s  {rate:7.2f} clips/s  {one['memory_gb']:6.2f} GB  {one['how']}")
    print(f"ours is {seconds['port'] / seconds['ours']:.2f} times as fast")


def measure(asked: argparse.Namespace) -> dict[str, float | str]:
    """The median step of one side, in this process, and the most memory that it took."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model("i3d", CLASSES).to(device).train()
    clip = torch.rand(asked.batch_size, 3, asked.frames, asked.crop, asked.crop, device=device) * 2 - 1
    label = torch.zeros(asked.batch_size, dtype=torch.long, device=device)
    precision = FP32 if asked.side == "port" else choose_precision(model, [clip], training=True)
    precision.prepare(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    network = torch.compile(model) if asked.compile and asked.side == "ours" else model
    times = []
    for _ in range(1 + asked.steps):
        begun = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with precision.autocast(device):
            logits = network(precision.place(clip))
        F.cross_entropy(logits.float(), label).backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begun)
    seconds = median(times[1:])
    how = "fp32, contiguous" if asked.side == "port" else precision.reason
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    how += _share_of_peak(asked, seconds, device, torch.bfloat16 if precision.bf16 else torch.float32)
    return {"seconds": seconds, "memory_gb": memory / 1e9, "how": how}


def _share_of_peak(asked: argparse.Namespace, seconds: float, device: torch.device, dtype: torch.dtype) -> str:
    """The share of what a large matrix product of that precision reaches here; empty for other sizes of clips."""
    if asked.frames not in MULTIPLY_ADDS or asked.crop != 224:
        return ""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    times = []
    for _ in range(12):  # of which the first ones warm up
        begun = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begun)
    peak = 2 * side**3 / median(times[3:])
    reached = 3 * 2 * MULTIPLY_ADDS[asked.frames] * asked.batch_size / seconds
    name = str(dtype).removeprefix("torch.")
    return f"; {reached / 1e12:.3g} of {peak / 1e12:.3g} TFLOP/s of a {name} matrix product ({reached / peak:.0%})"


if __name__ == "__main__":
    main()
