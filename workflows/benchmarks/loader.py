"""The shards' layouts beside the formats people use, on the same clips: speed, CPU, bytes read and stored, quality.

    python -m workflows.benchmarks.loader [--clips FOLDER] [--peers FOLDER] [--count N] [--rounds N]

A sample is 64 frames and a crop of 224: the same frames and crops in every format, warm from the page cache. Every
format has a process of its own; they take turns, and bars are medians of the ratios in each turn, so that other load
falls on all alike. Bytes read are those of system calls and of the pages of mapped files that a sample touches.

`array` checks the CRC of a chunk when a process first reads it: its first epoch is shown apart. What has been checked
stays so: later epochs read only the lines of the crop.

The peers are found where they are installed, or in `--peers`, a folder made by
`pip install --no-deps --target FOLDER mosaicml-streaming webdataset braceexpand catalogue tqdm xxhash zstd
python-snappy cramjam` (without the gigabytes that the first names for pictures and texts).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.plan import SCHEMA, Plan
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.clip_rows import decode_payload, encode_clip
from kinetics_pipeline.shards.codec import dequantise_flow
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.workflows.benchmarks.loader_clips import Frames, cut_clips, drawn_clip, encode_mp4, flow_of
from kinetics_pipeline.workflows.benchmarks.loader_process import FORMATS
from kinetics_pipeline.workflows.benchmarks.scenes import endpoint_error
from kinetics_pipeline.workflows.training.feeding import H100_SAMPLES

LAYOUTS: tuple[Layout, ...] = ("parquet", "array")
EPOCHS = 4
"""Different snippets of each clip."""
JPEGS = ("MDS, JPEG", "WebDataset, JPEG")
"""Peers of the same pictures: the bytes read are compared with theirs."""


@dataclass
class Quality:
    """Against the frames and the flow that were encoded."""

    squares: list[float] = field(default_factory=list)
    """Mean squared errors of the clips' frames."""
    pixels: list[float] = field(default_factory=list)
    """Endpoint errors of the clips' flow, px."""

    def psnr(self) -> str:
        error = statistics.mean(self.squares) if self.squares else -1
        return "" if error < 0 else "exact" if error == 0 else f"{10 * np.log10(255**2 / error):.1f}"

    def flow_error(self) -> str:
        return f"{statistics.mean(self.pixels):.3f}" if self.pixels else ""


def make(folder: Path, clips: Iterable[Frames]) -> tuple[int, dict[str, Quality]]:
    """Shards of both layouts and mp4s in `folder`; how many clips, and how good they are by layout and `mp4`."""
    quality = {name: Quality() for name in (*LAYOUTS, "mp4")}
    recipes = {layout: Recipe(layout=layout) for layout in LAYOUTS}
    records: list[Record] = []
    (folder / "mp4").mkdir()
    for number, frames in enumerate(clips):
        name, flow = f"clip{number:04d}", flow_of(frames)
        records.append(Record(name, name, None, None, "a", "ok", frames=len(frames)))
        for layout, recipe in recipes.items():
            payload = encode_clip(name, 0, frames, flow, recipe)
            quality[layout].squares.append(squared_error(frames, decode_payload(payload, "rgb", layout)))
            quality[layout].pixels.append(
                endpoint_error(dequantise_flow(decode_payload(payload, "flow", layout)), flow)
            )
            (folder / f"{name}.{layout}").write_bytes(payload)
        encode_mp4(frames, folder / "mp4" / f"{name}.mp4")
        if FORMATS["mp4 files, PyAV"].missing() is None:
            quality["mp4"].squares.append(squared_error(frames, _decoded(folder / "mp4" / f"{name}.mp4")))
    for layout, recipe in recipes.items():
        write_shards(folder, layout, recipe, records)
    return len(records), quality


def write_shards(folder: Path, name: str, recipe: Recipe, records: list[Record]) -> None:
    """A dataset `folder / name` of one shard; takes the clips' rows from `folder`, where they are CLIP_ID.NAME."""
    base = {"time_start": None, "time_end": None, "label": "a", "split": "train", "path": None, "source": "local"}
    rows = [
        {"position": k, "clip_id": record.clip_id, "video_id": record.clip_id, "shard": "train-00000", **base}
        for k, record in enumerate(records)
    ]
    dataset = Dataset.create(folder / name, recipe, ["a"], {})
    dataset.add_plan(Plan(pa.Table.from_pylist(rows, schema=SCHEMA)))
    write_shard(
        dataset.store,
        name="train-00000",
        plan="00000",
        clips=((record, (folder / f"{record.clip_id}.{name}").read_bytes()) for record in records),
        recipe=recipe,
        classes=["a"],
        scratch=folder,
        still_current=lambda: True,
    )
    for record in records:
        (folder / f"{record.clip_id}.{name}").unlink()


def squared_error(frames: Frames, other: Frames) -> float:
    """The mean over the part that `other` has of each frame."""
    height, width = other.shape[1:3]
    pairs = zip(frames[:, :height, :width], other, strict=True)
    return float(np.mean([np.square(one.astype(np.int32) - two).mean() for one, two in pairs]))


def _decoded(path: Path) -> NDArray[np.uint8]:
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def stored(folder: Path, layout: str, stream: Stream) -> int:
    """Bytes of a layout's shards without the columns that a stream does not need."""
    total, unused = 0, {"rgb": "flow", "flow": "rgb", "both": ""}[stream]
    for file in (folder / layout / "shards").iterdir():
        if file.suffix == ".parquet":
            footer = pq.read_metadata(file)
            groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
            columns = [group.column(k) for group in groups for k in range(group.num_columns)]
            total += file.stat().st_size
            total -= sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] == unused)
        elif file.suffix == ".arrow":
            with pa.memory_map(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
                total += file.stat().st_size - (table[unused].nbytes if unused else 0)
    return total


class Child:
    """The process of a format (`loader_process`)."""

    def __init__(self, name: str, folder: Path, clips: int, environment: Mapping[str, str]) -> None:
        self.name = name
        place = folder / "".join(letter for letter in name if letter.isalnum())
        command = [
            sys.executable,
            "-m",
            "kinetics_pipeline.workflows.benchmarks.loader_process",
            name,
            str(place),
            str(clips),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environment)
        )

    def ask(self, *what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.name} ended")
        return json.loads(answer)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # its input ends, and so does it


@dataclass
class Row:
    child: Child
    stream: Stream
    stored: float = 0.0
    """Bytes a clip."""
    read: float = 0.0
    """Bytes a sample."""
    first: dict[str, float] = field(default_factory=dict)
    """`wall` and `cpu` seconds a sample when samples are read for the first time."""
    rounds: list[dict[str, float]] = field(default_factory=list)
    """The same when they have been read before."""
    workers: dict[str, float] = field(default_factory=dict)

    def typical(self, what: str) -> float:
        return statistics.median(turn[what] for turn in self.rounds)

    def ratio(self, other: Row, what: str) -> float:
        """Median over the turns."""
        return statistics.median(
            mine[what] / theirs[what] for mine, theirs in zip(self.rounds, other.rounds, strict=True)
        )


def measure(children: Iterable[Child], folder: Path, clips: int, rounds: int, console: Console) -> list[Row]:
    """A row for each format that is installed and each of its streams."""
    rows: list[Row] = []
    for child in children:
        if missing := child.ask("missing"):
            console.print(f"{child.name}: {missing}", soft_wrap=True, markup=False)
        else:
            rows += _written(child, folder, clips)
    for row in rows:
        row.first = row.child.ask("round", row.stream, 0)
        row.read = row.child.ask("bytes", row.stream, EPOCHS)
    for row in rows:  # what was read again for its bytes must be known to this reader too
        for epoch in range(EPOCHS):
            row.child.ask("round", row.stream, epoch)
    for turn in range(rounds):
        for row in rows:
            row.child.ask("round", row.stream, turn % EPOCHS)  # a process that slept finds its caches cold
            row.rounds.append(row.child.ask("round", row.stream, turn % EPOCHS))
    _require_the_same_samples(rows)
    for row in rows:
        row.workers = row.child.ask("workers", row.stream, EPOCHS, 2.0)
    return rows


def _written(child: Child, folder: Path, clips: int) -> list[Row]:
    """A row for each stream of a format, whose clips are then on the disk."""
    rows: list[Row] = []
    for stream in FORMATS[child.name].streams:
        size = child.ask("write", stream)
        if child.name in LAYOUTS:
            size = stored(folder, child.name, stream)
        elif not size:
            size = sum(file.stat().st_size for file in (folder / "mp4").iterdir())
        rows.append(Row(child, stream, size / clips))
    return rows


def _require_the_same_samples(rows: Iterable[Row]) -> None:
    """Raises RuntimeError when a format that stores the same JPEGs gives other samples than Parquet shards."""
    contents: dict[Stream, str] = {}
    for row in rows:
        if row.child.name in ("parquet", *JPEGS):
            content = row.child.ask("content", row.stream)
            if contents.setdefault(row.stream, content) != content:
                raise RuntimeError(f"{row.child.name}, {row.stream}: its samples are not parquet's")


def table_of(rows: Iterable[Row], quality: Mapping[str, Quality]) -> Table:
    table = Table(box=None)
    for name in ("format", "stream", "samples/s", "CPU ms", "2 workers", "CPU ms", "MB read", "MB/clip", "PSNR", "px"):
        table.add_column(name, justify="left" if name in ("format", "stream") else "right", no_wrap=True)
    for row in rows:
        name = row.child.name
        good = quality[name if name in LAYOUTS else "mp4" if "mp4" in name else "parquet"]
        table.add_row(
            name,
            row.stream,
            f"{1 / row.typical('wall'):.1f}",
            f"{row.typical('cpu') * 1e3:.2f}",
            f"{1 / row.workers['wall']:.1f}",
            f"{row.workers['cpu'] * 1e3:.2f}",
            f"{row.read / 1e6:.2f}",
            f"{row.stored / 1e6:.2f}",
            "" if row.stream == "flow" else good.psnr(),
            "" if row.stream == "rgb" else good.flow_error(),
        )
        if name == "array":
            speed, cpu = f"{1 / row.first['wall']:.1f}", f"{row.first['cpu'] * 1e3:.2f}"
            table.add_row("  first epoch", row.stream, speed, cpu)
    return table


def feeding(rows: Iterable[Row]) -> Iterator[str]:
    """The cores that an H100 takes to train on our layouts, by what was measured here, and what two processes bring."""
    for row in rows:
        if row.child.name in LAYOUTS:
            cores = max(1, ceil(H100_SAMPLES * row.typical("cpu")))
            twice = row.typical("wall") / row.workers["wall"]
            told = f"{cores} cores load {H100_SAMPLES:.0f} samples/s, which an H100 is expected to train on"
            yield f"{row.child.name}, {row.stream}: {told}; two processes give {twice:.2f} times one (1.8 or more)"


def bars(rows: Iterable[Row]) -> list[tuple[str, float, bool]]:
    """What the formats are held to: a sentence, the number, and whether it is reached."""
    by_name = {(row.child.name, row.stream): row for row in rows}
    found: list[tuple[str, float, bool]] = []
    for (name, stream), row in by_name.items():
        ours = by_name["parquet", stream]
        if name == "array":
            times = ours.ratio(row, "wall")
            found.append((f"array over parquet, samples/s, {stream} (6 or more)", times, times >= 6))
        elif name not in ("parquet", "mp4 files, PyAV"):
            cpu, both = ours.ratio(row, "cpu"), ours.workers["cpu"] / row.workers["cpu"]
            found.append((f"CPU over that of {name}, {stream} (less than 1)", cpu, cpu < 1))
            found.append((f"  the same with two workers, {stream}", both, both < 1))
            if name in JPEGS:
                read = ours.read / row.read
                found.append((f"bytes read over those of {name}, {stream} (a third)", read, read <= 1 / 3))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="a folder of videos to cut clips from; default: drawn ones")
    parser.add_argument("--peers", type=Path, help="a folder that peers are installed in")
    parser.add_argument("--count", type=int, default=6, help="how many clips")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    console = Console(width=120)
    paths = [str(asked.peers.resolve())] if asked.peers else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    drawn = (drawn_clip(number) for number in range(asked.count))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        try:
            clips = drawn if asked.clips is None else islice(cut_clips(asked.clips, asked.count), asked.count)
            count, quality = make(folder, clips)
        except UserError as error:
            parser.error(str(error))
        children = [stack.enter_context(Child(name, folder, count, environment)) for name in FORMATS]
        rows = measure(children, folder, count, asked.rounds, console)
    console.print(table_of(rows, quality))
    for line in feeding(rows):
        console.print(line, markup=False, highlight=False)
    for sentence, number, reached in bars(rows):
        console.print(f"{'' if reached else 'MISSED: '}{sentence}: {number:.2f}", markup=False, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
