"""How fast `features` is: against the usual way, and against decoding, flow and networks run apart.

    python -m workflows.benchmarks.features [--video FILE] [--rows 1] [--rounds 1] [--memory]

The usual way decodes with OpenCV, computes flow with OpenCV's TV-L1 in one thread, and shows one window at a time to
networks in 32-bit floats. Its flow of a pair is computed once here, however many windows the pair belongs to; `again`
is the ratio for tools that compute it again for every window. Ours is what the command does. Both see the same frames,
turn about, on all cores; beside wall time stands processor time, which a busy machine disturbs less.

Bars on two threads: 12 times at 64/64, 6.5 times at 16/4, 2.3 times with RGB alone; processor time at most 1.1 of that
of the parts run apart.

`--memory` instead follows the memory of the command on a video of 2 and of 10 minutes, and of one of two hours whose
flow and networks are stubbed: proportional set size of its whole process tree, small pictures and a small network
input, so that it takes minutes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import imageio_ffmpeg
import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from kinetics_pipeline.flow import TVL1, tvl1
from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.loading.windows import Windows, crop_corner
from kinetics_pipeline.models import Checkpoint, build_model, save_checkpoint
from kinetics_pipeline.models.precision import FP32, device_here
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.video import read_frames
from kinetics_pipeline.workflows.benchmarks import scenes
from kinetics_pipeline.workflows.scoring.extraction.extractor import Extractor, extract_whole
from kinetics_pipeline.workflows.scoring.extraction.motion import Clocks
from kinetics_pipeline.workflows.scoring.extraction.network import (
    Network,
    Weights,
    choose,
    open_weights,
)
from kinetics_pipeline.workflows.scoring.extraction.presets import Layout
from kinetics_pipeline.workflows.scoring.extraction.videos import Footage, Item

CASES = (("64/64", 64, 64, 1, True), ("16/4", 16, 4, 13, True), ("64/64, RGB", 64, 64, 1, False))
"""What it is called, window, step, rows for each that is asked, whether flow is taken too."""
MINUTES = (2, 10)
HOURS = 2
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of all processors."""

    wall: float
    processor: float


def main(
    video: Path | None = None,
    rows: int = 1,
    rounds: int = 1,
    short_side: int = 256,
    crop: int = 224,
    memory: bool = False,
) -> None:
    """Measures features on this machine.

    video: whose first frames are taken; a rendered one by default. rows: windows of 64 frames, or as many frames in
    smaller windows. rounds: of both sides, turn about; the median is printed. short_side, crop: pixels of frames, and
    of what networks see. memory: follow the memory of a 2 and a 10 minute video instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if memory:
            _memory(place, video)
            return
        weights = {stream: random_weights(place, stream, short_side, crop) for stream in ("rgb", "flow")}
        tvl1(scenes.clip(2, 32, 32), "cpu")  # compiles
        longest = max(window + step * (rows * each - 1) for _, window, step, each, _ in CASES) + 1
        source = _first_frames(video, longest, place) if video else _rendered(place, longest, short_side)
        print(
            f"{64 * rows} frames a case, short side {short_side}, crop {crop}, {os.cpu_count()} CPUs, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        print(f"{'case':<12} {'usual':>16} {'ours':>16} {'times':>12} {'of the parts':>13}  again")
        for name, window, step, each, flow in CASES:
            streams = [weights["rgb"], *([weights["flow"]] if flow else [])]
            print(_case(name, Windows(window, step), streams, source, rows * each, rounds), flush=True)


def _case(name: str, windows: Windows, weights: Sequence[Weights], video: Path, rows: int, rounds: int) -> str:
    """A line: seconds by the clock and of the processors, and their ratios."""
    frames = windows.first(rows - 1) + windows.window
    cut = video.with_name(f"cut{frames}.mkv")
    if not cut.exists():
        _ffmpeg("-i", video, "-frames:v", str(frames), "-c:v", "copy", cut)
    precisions = choose(weights, "auto", 64, device_here())
    ours = Extractor(
        [Network(one, how, device_here()) for one, how in zip(weights, precisions, strict=True)],
        Layout(fps="native", window=windows.window, step=windows.step),
        weights[0].recipe,
        "cpu" if len(weights) == 2 else None,
    )
    plain = [Network(one, FP32, torch.device("cpu")) for one in weights]  # as they are trained, nothing folded
    found: dict[str, list[Cost]] = {"usual": [], "ours": [], "parts": []}
    pairs = [0.0]
    for _ in range(rounds):
        found["ours"].append(measured(lambda: _ours(ours, cut)))
        found["parts"].append(measured(lambda: _parts(ours, cut, windows)))
        found["usual"].append(measured(lambda: _usual(cut, plain, windows, pairs)))
    cost = {side: Cost(*np.median([(c.wall, c.processor) for c in costs], axis=0)) for side, costs in found.items()}
    usual, mine = cost["usual"], cost["ours"]
    repeated = rows * windows.window - (frames - 1) if len(weights) == 2 else 0
    again = (usual.processor + max(0, repeated) * pairs[0]) / mine.processor
    return (
        f"{name:<12} {usual.wall:7.1f} {usual.processor:7.1f} s {mine.wall:7.1f} {mine.processor:6.1f} s "
        f"{usual.wall / mine.wall:5.1f} {usual.processor / mine.processor:5.1f}x "
        f"{mine.processor / cost['parts'].processor:12.2f}  {again:.1f}x"
    )


def measured(work: Callable[[], object]) -> Cost:
    """What `work` takes, its child processes included."""
    began, before = time.perf_counter(), _processor()
    work()
    return Cost(time.perf_counter() - began, _processor() - before)


def _processor() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


class _Nowhere:
    """A writer that keeps no rows."""

    names: tuple[str, ...] = ()

    def __enter__(self) -> _Nowhere:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add(self, rows: dict[str, Any]) -> None:
        pass

    def finish(self, times: Any, fps: float) -> None:
        pass


def _ours(extractor: Extractor, video: Path) -> None:
    footage = Footage(Item(video.stem, str(video), 1), None, extractor.recipe, flow=False)
    extract_whole(extractor, footage, _Nowhere, Clocks())


def _parts(extractor: Extractor, video: Path, windows: Windows) -> None:
    """Decoding, then flow, then the networks, each with all cores to itself."""
    frames = np.stack(list(read_frames(video, fps=30, short_side=extractor.recipe.short_side)))
    streams: dict[str, Bytes] = {"rgb": frames.transpose(3, 0, 1, 2)}
    if extractor.flow is not None:
        flow = quantise_flow(tvl1(frames, "cpu"))
        streams["flow"] = np.concatenate([flow, flow[-1:]]).transpose(1, 0, 2, 3)
    _windows_one_by_one(extractor.networks, streams, windows, len(frames))


def _usual(video: Path, networks: Sequence[Network], windows: Windows, pairs: list[float]) -> None:
    """OpenCV for frames and flow, then each window in 32-bit floats; `pairs` is given the seconds of a pair's flow."""
    capture, frames, flows = cv2.VideoCapture(str(video)), list[Any](), list[Any]()
    flow_of = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
    cv2.setNumThreads(1)
    side, grey = networks[0].crop * 8 // 7, None
    spent = 0.0
    while True:
        more, picture = capture.read()
        if not more:
            break
        scale = side / min(picture.shape[:2])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        frame = cv2.cvtColor(cv2.resize(picture, size), cv2.COLOR_BGR2RGB)
        before, grey = grey, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if before is not None and len(networks) == 2:
            began = time.process_time()
            flows.append(flow_of.calc(before, grey, None).transpose(2, 0, 1))
            spent += time.process_time() - began
        frames.append(frame)
    streams: dict[str, Bytes] = {"rgb": np.stack(frames).transpose(3, 0, 1, 2)}
    if flows:
        pairs[0] = spent / len(flows)
        streams["flow"] = quantise_flow(np.stack([*flows, flows[-1]])).transpose(1, 0, 2, 3)
    _windows_one_by_one(networks, streams, windows, len(frames))


def _windows_one_by_one(networks: Sequence[Network], streams: dict[str, Bytes], windows: Windows, frames: int) -> None:
    for row in range(windows.rows(frames)):
        numbers = windows.frames(row, frames)
        for network in networks:
            stored = streams[network.stream][:, numbers]
            top, left = crop_corner(stored.shape[2], stored.shape[3], network.crop, 0, crops=1)
            crop = stored[:, :, top : top + network.crop, left : left + network.crop]
            network.rows([[np.ascontiguousarray(crop)]], np.zeros((1, len(numbers)), bool))


def random_weights(folder: Path, stream: str, short_side: int, crop: int) -> Weights:
    """A seeded I3D: speed does not depend on what it knows."""
    channels = {"rgb": 3, "flow": 2}[stream]
    torch.manual_seed(channels)
    config = {"num_classes": 400, "in_channels": channels}
    metadata = {
        "stream": stream,
        "crop": crop,
        "recipe": Recipe(short_side=short_side, flow_parameters=TVL1()).to_json(),
    }
    file = folder / f"{stream}.pt"
    save_checkpoint(Checkpoint("i3d", config, build_model("i3d", **config).state_dict(), None, metadata), file)
    return open_weights(file, stream)  # type: ignore[arg-type]


def _rendered(folder: Path, frames: int, short_side: int) -> Path:
    """A video of a textured scene in motion, 30 frames a second."""
    grey = scenes.clip(min(frames, 32), short_side, 2 * round(short_side * 2 / 3))
    turns = [*range(len(grey)), *range(len(grey) - 2, 0, -1)]  # there and back: motion in every pair
    pixels = b"".join(grey[turns[number % len(turns)]].tobytes() for number in range(frames))
    size = f"{grey.shape[2]}x{grey.shape[1]}"
    line = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-r", "30", "-i", "-", "-pix_fmt", "yuv420p")
    target = folder / "rendered.mkv"
    _ffmpeg(*line, "-c:v", "libx264", "-bf", "0", "-crf", "16", target, stdin=pixels)
    return target


def _first_frames(video: Path, frames: int, folder: Path) -> Path:
    target = folder / "given.mkv"
    _ffmpeg(
        "-i", video, "-frames:v", str(frames), "-r", "30", "-an", "-c:v", "libx264", "-bf", "0", "-crf", "16", target
    )
    return target


def _ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> None:
    line = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(line, input=stdin, check=True)


# Memory


def _memory(folder: Path, video: Path | None) -> None:
    """The most memory of the command on each length, a curve of ten points of each, and how far two of them differ."""
    flags = ["--precision", "fp32", "--window", "64", "--step", "64"]
    for stream in ("rgb", "flow"):
        flags += [f"--{stream}", str(random_weights(folder, stream, 48, 32).path)]
    source = video or _rendered(folder, 250, 96)
    most = []
    for minutes in MINUTES:
        long = _looped(source, minutes, folder / f"{minutes}min.mkv")
        words = ["features", str(long), *flags, "--to", str(folder / f"to{minutes}")]
        most.append(_followed(f"{minutes} minutes", ["-m", "kinetics_pipeline.workflows", *words]))
    print(f"they differ by {max(most) / min(most) - 1:.1%}")
    hours = folder / "hours.mkv"
    _ffmpeg("-stream_loop", str(60 * HOURS // MINUTES[-1] - 1), "-i", long, "-c", "copy", hours)
    words = ["features", str(hours), *flags, "--to", str(folder / "hours")]
    _followed(f"{HOURS} hours, flow and networks stubbed", ["-c", _STUBBED, *words])


_STUBBED = (
    "import sys; from kinetics_pipeline.workflows.benchmarks.features import run_stubbed;"
    "sys.exit(run_stubbed(sys.argv[1:]))"
)


def run_stubbed(words: Sequence[str]) -> int:
    """A command whose networks and flow compute nothing, so that hours of video take minutes: its exit code."""
    from kinetics_pipeline.workflows.cli.app import run
    from kinetics_pipeline.workflows.scoring.extraction import motion

    def rows(network: Network, windows: Sequence[Sequence[Bytes]], zeros: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.array([np.full(1024, window[0].mean()) for window in windows], np.float32)

    def still(grey: Bytes, backend: str, **parameters: Any) -> Bytes:
        return np.zeros((len(grey) - 1, 2, *grey.shape[1:]), np.uint8)

    with patch.object(Network, "rows", rows), patch.object(motion, "quantised_tvl1", still):
        return run(list(words))


def _looped(source: Path, minutes: int, target: Path) -> Path:
    """Repeats a video until it has so many minutes, in small pictures."""
    line = ("-stream_loop", "-1", "-i", source, "-t", str(60 * minutes), "-an", "-vf", "scale=-2:96")
    _ffmpeg(*line, "-c:v", "libx264", "-preset", "ultrafast", "-g", "30", target)
    return target


def _followed(name: str, arguments: Sequence[str]) -> int:
    """The most bytes of a Python process and its children, which is followed to its end; prints that and a curve."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sizes = []
    while process.poll() is None:
        sizes.append(_proportional_size(process.pid))
        time.sleep(0.5)
    curve = " ".join(f"{size / 1e6:.0f}" for size in sizes[:: max(1, len(sizes) // 10)])
    print(f"{name}: exit {process.returncode}, at most {max(sizes) / 1e6:.0f} MB; curve {curve}", flush=True)
    return max(sizes)


def _proportional_size(pid: int) -> int:
    """Bytes of a process and its children, shared pages divided among those that share them."""
    total = 0
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in tree:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
