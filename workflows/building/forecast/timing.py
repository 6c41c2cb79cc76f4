"""What a frame takes on a core of this machine, by stage: as earlier clips of the dataset took, else by timed clips.

Processor time is counted, so that other work on this machine does not make the forecast longer.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.estimate import ASPECT, SIDES
from kinetics_pipeline.recipe import Recipe, uses_gpu
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.building.time_needed import SAMPLE

TIMED = 4
"""Clips that are timed, all at the same time: cores that share caches and memory are slower together than one alone."""
PAIRS = 12
"""Pairs of frames whose flow is timed in each of them, evenly over the clip."""
RENDERED_SECONDS = 4.0
ENOUGH = 8
"""Clips that a dataset must have before theirs count."""
GPU_PAIRS, GPU_PIXELS = 900.0, 256 * 340
"""Pairs a second of an H100 at 256 x 340 by a model of its bandwidth (660 to 1,390 by clip), where no GPU is here."""


@dataclass(frozen=True)
class StageTimes:
    """Seconds of one core for a frame, by stage."""

    decode: float
    flow: float
    encode: float
    bytes: float
    """Bytes of a frame in the shards; 0 where no clip of the user's was made."""
    how: str
    """Where the figures come from."""
    gpu: bool = False
    """Whether the flow was timed on a GPU."""


@dataclass(frozen=True)
class Sample:
    """A part of a video file; None: its beginning, its end. `offset`: see `sources.base.Media`."""

    path: Path
    start: float | None = None
    end: float | None = None
    offset: float = 0.0


def stage_times(recipe: Recipe, dataset: Dataset | None, samples: Sequence[Sample]) -> StageTimes:
    """The times of the earlier clips of `dataset`, where it has some; else of `samples` here, or of a rendered clip."""
    if dataset is not None and (found := _as_before(dataset)) is not None:
        return found
    return _timed(recipe, tuple(samples[:TIMED]))


def _as_before(dataset: Dataset) -> StageTimes | None:
    entries = (entry for marker in dataset.some_markers(SAMPLE) for entry in marker.clips)
    done = [_taken(entry) for entry in entries if entry["outcome"] == "ok"]
    frames, decode, flow, encode = np.sum(done, axis=0) if done else (0.0, 0.0, 0.0, 0.0)
    if len(done) < ENOUGH or not frames:
        return None
    return StageTimes(decode / frames, flow / frames, encode / frames, 0.0, f"as {len(done)} clips before", gpu=True)


def _taken(entry: Mapping[str, Any]) -> tuple[float, ...]:
    """Frames, and seconds of decoding, flow and the rest but fetching."""
    seconds = entry["seconds"]
    rest = sum(value for stage, value in seconds.items() if stage not in ("fetch", "decode", "flow"))
    return entry["frames"], seconds.get("decode", 0.0), seconds.get("flow", 0.0), rest


@lru_cache(maxsize=8)
def _timed(recipe: Recipe, samples: tuple[Sample, ...]) -> StageTimes:
    """Times clips, as many at a time as there are cores. A video that cannot be read does not count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, min(cores, TIMED))) as pool, TemporaryDirectory(prefix="kinetics-timing-") as folder:
        clips, seconds = _decoded(pool, samples, recipe)
        rendered = not clips
        if rendered:
            sample = Sample(_rendered(Path(folder), recipe.short_side))
            clips, seconds = _decoded(pool, [sample] * min(cores, 2), recipe)
        # Once without counting: flow may be compiled, and encoders are imported.
        _made(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8), recipe)
        made = list(pool.map(lambda clip: _made(clip, recipe), clips))
    flow, encode, a_frame = (float(column) for column in np.mean(made, axis=0))
    how = f"by {counted(len(clips), 'timed clip')} of the sources"
    return StageTimes(
        decode=seconds,
        flow=flow,
        encode=encode,
        bytes=0.0 if rendered else a_frame,
        how="by a rendered clip, timed" if rendered else how,
        gpu=uses_gpu(recipe) and _gpu_here(),
    )


def _decoded(pool: Executor, samples: Sequence[Sample], recipe: Recipe) -> tuple[list[NDArray[np.uint8]], float]:
    """The clips, and the processor seconds that decoding took a frame: another process's count, when it has ended."""
    began = _processor_seconds()
    clips = [clip for clip in pool.map(lambda sample: _read(sample, recipe), samples) if clip is not None]
    spent = _processor_seconds() - began
    return clips, spent / max(1, sum(map(len, clips)))


def _processor_seconds() -> float:
    """The processor time of this process and of its children that have ended."""
    taken = os.times()
    return taken.user + taken.system + taken.children_user + taken.children_system


def _read(sample: Sample, recipe: Recipe) -> NDArray[np.uint8] | None:
    """The frames of a clip; None where the file is no good."""
    from kinetics_pipeline.errors import UserError
    from kinetics_pipeline.video.frames import BrokenVideo, TooShort, read_clip

    try:
        return read_clip(
            sample.path,
            sample.start,
            sample.end,
            recipe.fps,
            recipe.short_side,
            offset=sample.offset,
            interpolation=recipe.interpolation,
            timeout=60,
        )
    except (BrokenVideo, TooShort, TimeoutError, OSError, UserError):
        return None


def _made(frames: NDArray[np.uint8], recipe: Recipe) -> tuple[float, float, float]:
    """Processor seconds a frame of flow and of encoding, and bytes a frame."""
    from kinetics_pipeline.shards.clip_rows import encode_clip

    count = len(frames)
    a_pair, flow = 0.0, None
    if recipe.flow != "none":
        flow = np.zeros((count, 2, *frames.shape[1:3]), np.float32)
    if flow is not None and count > 1:
        a_pair, moves, some = _pairs(frames, recipe, PAIRS)
        flow[moves] = some[np.arange(len(moves)) % max(1, len(some))]
    began = time.thread_time()
    made = len(encode_clip("timed", -1, frames, flow, recipe))
    return a_pair, (time.thread_time() - began) / count, made / count


def _pairs(
    frames: NDArray[np.uint8], recipe: Recipe, most: int
) -> tuple[float, NDArray[np.int64], NDArray[np.float32]]:
    """Seconds of the flow a pair, of a core's or the GPU's, over all pairs: those that repeat a frame cost nothing. And
    the pairs that do not, with the flows [N, 2, H, W] of some of them."""
    from kinetics_pipeline.flow import tvl1
    from kinetics_pipeline.flow.frames import grey_frames, new_frames

    elsewhere = recipe.flow_backend == "cuda" and not _gpu_here()
    backend = "cpu" if elsewhere else recipe.flow_backend  # then only for the flow that is encoded
    moves = np.flatnonzero(new_frames(grey_frames(frames))[1:] | (backend == "opencv"))
    if not len(moves):
        return 0.0, moves, np.zeros((0, 2, *frames.shape[1:3]), np.float32)
    share = len(moves) / (len(frames) - 1)
    first = moves[np.unique(np.linspace(0, len(moves) - 1, most).astype(int))]
    parameters = asdict(recipe.flow_parameters)
    clock = time.perf_counter if backend == "cuda" else time.thread_time
    flows, seconds = [], 0.0
    for number in first:
        began = clock()
        flows.append(tvl1(frames[number : number + 2], backend=backend, **parameters))
        seconds += clock() - began
    a_pair = frames.shape[1] * frames.shape[2] / GPU_PIXELS / GPU_PAIRS if elsewhere else seconds / len(first)
    return share * a_pair, moves, np.concatenate(flows)


def gpus_here(recipe: Recipe) -> int:
    """The GPUs of this machine that such a recipe's flow can use."""
    if not uses_gpu(recipe) or not _gpu_here():
        return 0
    import torch

    return torch.cuda.device_count()


def _gpu_here() -> bool:
    """Whether the flow can be timed on a GPU of this machine."""
    from kinetics_pipeline.errors import UserError
    from kinetics_pipeline.flow import require_backend

    try:
        require_backend("cuda")
    except UserError:
        return False
    return True


def _rendered(folder: Path, short_side: int) -> Path:
    """A 4:3 video, of a height that YouTube has for this short side: a disc moves over a ground that drifts, with a
    camera's noise. Its flow takes about as long as that of filmed clips; without disc and noise it took two thirds."""
    height = next((side for side in SIDES if side >= short_side), SIDES[-1])
    width = round(height * ASPECT / 2) * 2
    rng = np.random.default_rng(0)
    ground, disc = (_texture(rng, height + 256, width + 256, scale) for scale in (4, 2))
    y, x = np.mgrid[:height, :width]
    count = round(25 * RENDERED_SECONDS)
    path = folder / "rendered.mp4"
    command = [executable(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", "25"]
    command += ["-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"]
    with subprocess.Popen([*command, "-y", str(path)], stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for number in range(count):
            down, right = round(0.4 * number), round(1.3 * number)
            frame = ground[down : down + height, right : right + width].copy()
            up, left = 128 - round(0.9 * number), 192 - round(1.4 * number)
            inside = (y - height / 2) ** 2 + (x - width / 2 - 1.4 * (number - count / 2)) ** 2 < (height / 4) ** 2
            frame[inside] = disc[up : up + height, left : left + width][inside]
            frame += 2 * rng.standard_normal(frame.shape, dtype=np.float32)
            encoder.stdin.write(np.clip(frame, 0, 255).astype(np.uint8).tobytes())
    if encoder.returncode:
        raise JobFailed(f"a clip to time could not be rendered: ffmpeg ended with {encoder.returncode}")
    return path


def _texture(rng: np.random.Generator, height: int, width: int, scale: float) -> NDArray[np.float32]:
    """Grey values, float32 [H, W], 0 to 255, whose details are about `scale` pixels large."""
    import cv2

    noise = rng.standard_normal((height, width), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), scale)
    grey: NDArray[np.float32] = np.clip(128 + 50 * smooth / smooth.std(), 0, 255).astype(np.float32)
    return grey
