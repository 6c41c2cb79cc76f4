"""How fast flow is on this machine: against OpenCV, on several threads, and against what the processor can do.

    python -m workflows.benchmarks.flow [--video FILE] [--pairs 6] [--rounds 3]

Every ratio is taken in one run, on the same pairs at 256x340, interleaved; medians are printed. Beside wall time stands
processor time, which a busy machine disturbs less; the speed-up of threads can only be seen on idle processors, so the
growth of the processor time of a pair is given as well (1.00: threads do not hinder each other at all).

What was tried for the CPU kernels, and what it brought (2-core AMD Zen 5 at 256x340, milliseconds a pair of about 270
full-size iterations; before, loops that LLVM vectorises by itself: iterations 20, warps 18, medians 8):
- Vectors of sixteen written out (`cpu.simd`) instead of left to LLVM, all fields of a row side by side (`cpu.layout`),
  1 / |g|^2 once a warp instead of a division an iteration: 0.87 -> 0.54 ns a pixel and iteration.
- The next row asked for early on levels larger than a core's cache: 1.03 -> 0.76 ns at full size on a busy machine.
- Grey value and gradients interleaved, so a row of a bicubic sample is one vector: a full-size warp 1.4 -> 0.19 ms.
- Columns of the median sorted once for five windows, then a network found by search: 2.8 -> 1.0 ns a pixel.
- Threads: one pair each, no shared writes, no allocation in a loop, the GIL released for a chunk of pairs.
Not worth it: blocking iterations in time (a stop test follows every iteration, so the next one cannot begin early, and
the sweep is bound by arithmetic here: see the roofline that this prints), gathers for the warp, larger epsilon.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.flow import TVL1, cpu, opencv, tvl1
from kinetics_pipeline.workflows.benchmarks import roofline, scenes

SIZE = (256, 340)
Grey = NDArray[np.uint8]


def main(video: Path | None = None, pairs: int = 6, rounds: int = 3) -> None:
    """Measures flow on the CPU.

    video: real frames instead of generated ones (any size; resized). pairs: of frames, not two alike.
    """
    cpus = len(os.sched_getaffinity(0))
    frames = _frames_of(video, pairs + 1) if video else scenes.clip(pairs + 1, *SIZE)
    tvl1(frames[:2], "cpu")  # compiles
    print(f"{pairs} pairs at {SIZE[0]}x{SIZE[1]}, {cpus} CPUs, load {os.getloadavg()[0]:.1f}, {cv2.__version__=}")
    _against_opencv(frames, 1, rounds)
    if cpus > 1:
        _against_opencv(frames, cpus, rounds)
        _threads(frames, cpus, rounds)
    for line in roofline.report(SIZE):
        print(line)


def _frames_of(video: Path, count: int) -> Grey:
    """The first frames of a video that differ from the one before."""
    frames: list[Any] = []
    capture = cv2.VideoCapture(str(video))
    while len(frames) < count:
        more, frame = capture.read()
        if not more:
            raise SystemExit(f"{video} has only {len(frames)} different frames")
        grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), SIZE[::-1])
        if not frames or np.abs(grey.astype(int) - frames[-1]).mean() > 0.5:
            frames.append(grey)
    return np.stack(frames).astype(np.uint8)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def _against_opencv(frames: Grey, threads: int, rounds: int) -> None:
    """Compares with OpenCV. On one thread pair by pair; on several, OpenCV shares out rows, and we share out pairs."""
    cv2.setNumThreads(threads)
    step = 1 if threads == 1 else len(frames) - 1
    times, errors = [], []
    for _ in range(rounds):
        for first in range(0, len(frames) - 1, step):
            clip = frames[first : first + step + 1]
            found: dict[str, Any] = {}

            def theirs(clip: Grey = clip, found: dict[str, Any] = found) -> None:
                found["opencv"] = opencv.flow(clip, TVL1())

            def ours(clip: Grey = clip, found: dict[str, Any] = found) -> None:
                found["cpu"] = cpu.flow(clip, TVL1(), threads=threads)

            times.append((*_timed(theirs), *_timed(ours)))
            errors.append(scenes.endpoint_error(found["opencv"], found["cpu"]))
    wall_theirs, cpu_theirs, wall_ours, cpu_ours = np.array(times).T / step
    print(
        f"{threads} thread{'s' if threads > 1 else ''}: OpenCV {np.median(wall_theirs) * 1e3:.0f} ms a pair, "
        f"ours {np.median(wall_ours) * 1e3:.1f} ms; ratio {np.median(wall_theirs / wall_ours):.1f} by wall time, "
        f"{np.median(cpu_theirs / cpu_ours):.1f} by processor time; EPE mean {np.mean(errors):.4f}, "
        f"worst {np.max(errors):.4f} px"
    )


def _threads(frames: Grey, threads: int, rounds: int) -> None:
    """Measures how threads scale: each of several threads computes as many pairs as one alone."""
    work = np.concatenate([frames] * threads * 2)
    times = []
    for _ in range(rounds):
        alone = _timed(lambda: cpu.flow(work, TVL1(), threads=1))
        together = _timed(lambda: cpu.flow(work, TVL1(), threads=threads))
        times.append((*alone, *together))
    wall_one, cpu_one, wall_many, cpu_many = np.array(times).T
    free = np.median(_idle_share(threads))
    print(
        f"{threads} threads against one: {np.median(wall_one / wall_many):.2f} times as fast; a pair takes "
        f"{np.median(cpu_many / cpu_one):.2f} times the processor time; a loop without memory gains {free:.2f} now"
    )


def _idle_share(threads: int) -> list[float]:
    """How much pure arithmetic gains from `threads` threads: what other work on this machine leaves them."""
    gains = []
    for _ in range(3):
        alone = sum(_timed(lambda: roofline.spin(20_000_000))[0] for _ in range(threads))
        with ThreadPoolExecutor(threads) as pool:
            together, _ = _timed(lambda: list(pool.map(roofline.spin, [20_000_000] * threads)))
        gains.append(alone / together)
    return gains


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
