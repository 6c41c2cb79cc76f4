"""Samples a second, CPU and bytes of the shards' layouts, and of two formats that people use, on the same clips.

    python -m workflows.benchmarks.loader [--clips N] [--rounds N]

A sample is 64 frames and a crop of 224, taken in one process, warm from the page cache. The formats take turns, and
the ratios to `parquet` are medians over the rounds: other load on the machine falls on all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.plan import SCHEMA, Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.catalogue import Dataset
from kinetics_pipeline.shards.conversion import Choice, begin, convert
from kinetics_pipeline.shards.payload import encode_clip
from kinetics_pipeline.shards.writer import write_shard

FRAMES, HEIGHT, WIDTH = 250, 256, 340
SNIPPET, CROP = 64, 224
Sampler = Callable[[int], object]


def moving_clip(number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Blurred noise that moves: uint8 [250, 256, 340, 3], about as hard to encode as film; and its flow, in pixels."""
    import cv2

    random = np.random.default_rng(number)
    noise = random.integers(0, 256, (HEIGHT + FRAMES, WIDTH + FRAMES, 3), np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    frames = np.stack([picture[t : t + HEIGHT, t : t + WIDTH] for t in range(FRAMES)])
    frames = (frames.astype(np.int16) + random.integers(-4, 5, frames.shape, np.int16)).clip(0, 255).astype(np.uint8)
    flow = cv2.GaussianBlur(random.normal(-1, 4, (HEIGHT, WIDTH, 2)), (0, 0), 6).astype(np.float32)
    return frames, np.broadcast_to(flow.transpose(2, 0, 1), (FRAMES, 2, HEIGHT, WIDTH)).copy()


def make(folder: Path, clips: int) -> dict[str, tuple[Sampler, Path]]:
    """The same clips in every format: what reads a sample of each, and where it lies."""
    names = [f"clip{number:04d}" for number in range(clips)]
    base = {"time_start": None, "time_end": None, "label": "a", "split": "train", "path": None, "source": "local"}
    rows = [
        {"position": k, "clip_id": name, "video_id": name, "shard": "train-00000", **base}
        for k, name in enumerate(names)
    ]
    recipe = Recipe()
    dataset = Dataset.create(folder / "parquet", recipe, ["a"], {})
    dataset.add_plan(Plan(pa.Table.from_pylist(rows, schema=SCHEMA)))
    one_row = pq.ParquetWriter(
        folder / "one_row.parquet", pa.schema([("id", pa.string()), ("rgb", pa.list_(pa.binary()))]), compression="none"
    )
    payloads = []
    for number, name in enumerate(names):
        frames, flow = moving_clip(number)
        payloads.append(
            (Record(name, name, None, None, "a", "ok", frames=FRAMES), encode_clip(name, 0, frames, flow, recipe))
        )
        images = [codec.encode_rgb(frame, recipe.rgb_quality) for frame in frames]
        one_row.write_table(pa.table({"id": [name], "rgb": [images]}, schema=one_row.schema), row_group_size=1)
        (folder / "jpegs" / name).mkdir(parents=True)
        for k, image in enumerate(images):
            (folder / "jpegs" / name / f"img_{k:05d}.jpg").write_bytes(image)
    one_row.close()
    write_shard(
        dataset.store,
        name="train-00000",
        plan="00000",
        clips=payloads,
        recipe=recipe,
        classes=["a"],
        scratch=folder,
        still_current=lambda: True,
    )
    arrays = begin(dataset, str(folder / "array"), "array", Choice(), clips)
    convert(dataset, arrays, folder / "scratch", lambda: True)
    found: dict[str, tuple[Sampler, Path]] = {}
    streams: tuple[Literal["rgb", "flow", "both"], ...] = ("rgb", "flow", "both")
    for layout in ("parquet", "array"):
        for stream in streams:
            read = ClipDataset(folder / layout, stream=stream, frames=SNIPPET, crop=CROP, raw=True)
            found[f"{layout} {stream}"] = read.__getitem__, folder / layout / "shards"
    found["one row a clip rgb"] = _one_row(folder / "one_row.parquet"), folder / "one_row.parquet"
    found["folder of JPEGs rgb"] = _jpegs([folder / "jpegs" / name for name in names]), folder / "jpegs"
    return found


def _decoded(images: Sequence[bytes], random: np.random.Generator) -> NDArray[np.uint8]:
    top, left = random.integers(0, HEIGHT - CROP + 1), random.integers(0, WIDTH - CROP + 1)
    out, whole = np.empty((3, len(images), CROP, CROP), np.uint8), np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for time_, image in enumerate(images):
        codec.decode_rgb(image, whole)
        out[:, time_] = whole[top : top + CROP, left : left + CROP].transpose(2, 0, 1)
    return out


def _one_row(path: Path) -> Sampler:
    file, random = pq.ParquetFile(path), np.random.default_rng(0)

    def sample(number: int) -> object:
        images = file.read_row_group(number, columns=["rgb"], use_threads=False)["rgb"][0].values
        start = int(random.integers(0, FRAMES - SNIPPET + 1))
        return _decoded(images.slice(start, SNIPPET).to_pylist(), random)

    return sample


def _jpegs(folders: Sequence[Path]) -> Sampler:
    random = np.random.default_rng(0)

    def sample(number: int) -> object:
        start = int(random.integers(0, FRAMES - SNIPPET + 1))
        files = [folders[number] / f"img_{k:05d}.jpg" for k in range(start, start + SNIPPET)]
        return _decoded([file.read_bytes() for file in files], random)

    return sample


def stored(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def measure(formats: dict[str, tuple[Sampler, Path]], clips: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(seconds, CPU seconds) a sample of each format, a pair a round; the formats take turns."""
    for sample, _ in formats.values():
        sample(0)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in formats}
    for _ in range(rounds):
        for name, (sample, _) in formats.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for number in range(clips):
                sample(number)
            found[name].append(((time.perf_counter() - wall) / clips, (time.process_time() - cpu) / clips))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        formats = make(Path(folder), asked.clips)
        found = measure(formats, asked.clips, asked.rounds)
        table = Table("format", "samples/s", "CPU ms/sample", "CPU / parquet's", "MB/clip", box=None)
        for name, pairs in found.items():
            base = found[f"parquet {name.rpartition(' ')[2]}"]
            ratio = statistics.median(mine[1] / theirs[1] for mine, theirs in zip(pairs, base, strict=True))
            wall, cpu = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
            size = stored(formats[name][1]) / asked.clips / 1e6
            table.add_row(name, f"{1 / wall:.1f}", f"{cpu * 1e3:.1f}", f"{ratio:.2f}", f"{size:.2f}")
        Console().print(table)


if __name__ == "__main__":
    main()
