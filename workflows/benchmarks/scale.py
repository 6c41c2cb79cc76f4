"""What a dataset of 10,000 shards costs to look at: its status, a build's scan, opening it to train, an epoch's order.

    python -m workflows.benchmarks.scale [--shards N] [--folder FOLDER]
    python -m workflows.benchmarks.scale --rows N [N ...] [--keep FILE] [--before FILE] [--picture PNG]
    python -m workflows.benchmarks.scale --clips FEW MANY [--rounds N]

Plans and markers are real, of 65 clips a shard, and a second plan tries again what failed, a clip in twenty. The data
files, of which none is read here, are holes of the size that the markers say. Each step runs in a process of its own,
as a user's command does. With `--rows` another table and its picture: see `many_rows`. With `--clips` the processor
time of a clip, beside a plain loop: see `clip_cost`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.plan import PlannedShard, PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import clip_id
from kinetics_pipeline.shards.data_file import data_name
from kinetics_pipeline.shards.markers import marker_name, sealed
from kinetics_pipeline.shards.writer import versions
from kinetics_pipeline.workflows.benchmarks import clip_cost, many_rows
from kinetics_pipeline.workflows.pictures.sheets import write_picture

CLIPS_PER_SHARD = 65
DATA_BYTES = 270_000_000
CLASSES = [f"class {number:03d}" for number in range(700)]
STEPS = {
    "status": ("from kinetics_pipeline.workflows.datasets.status import status", "status({folder!r}, True)"),
    "scan of a build": (
        "import tempfile; from pathlib import Path; from kinetics_pipeline.dataset.dataset import Dataset; "
        "from kinetics_pipeline.dataset.withdraw import finish_withdrawals",
        "d = Dataset.open({folder!r}); finish_withdrawals(d, Path(tempfile.gettempdir()), bool); "
        "d.unfinished(); d.settled(()); "
        "d.next_shard_numbers()",
    ),
    "ClipDataset, cold": ("from kinetics_pipeline.loading import ClipDataset", "ClipDataset({folder!r})"),
    "ClipDataset, cached": ("from kinetics_pipeline.loading import ClipDataset", "ClipDataset({folder!r})"),
    "order of an epoch": (
        "from kinetics_pipeline.loading import ClipDataset, ClipSampler; d = ClipDataset({folder!r})",
        "ClipSampler(d).order()",
    ),
}
"""What is imported and made ready before, and what is timed."""
_TIMED = """
import time
{before}
wall, cpu = time.perf_counter(), time.process_time()
{step}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"\\nMEASURED {{wall}} {{cpu}} {{peak}}")
"""


def make(folder: Path, shards: int) -> None:
    """A dataset whose one plan is committed, as far as plans and markers can say."""
    count = shards * CLIPS_PER_SHARD
    random = np.random.default_rng(0)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"))
    videos = ["".join(row) for row in letters[random.integers(0, 64, (count, 11))]]
    starts = random.integers(0, 600, count)
    asked = pd.DataFrame(
        {
            "clip_id": [
                clip_id(video, int(start), int(start) + 10) for video, start in zip(videos, starts, strict=True)
            ],
            "video_id": videos,
            "time_start": starts.astype(np.float64),
            "time_end": starts + 10.0,
            "label": np.array(CLASSES, dtype=object)[random.integers(0, len(CLASSES), count)],
            "split": "train",
        }
    )
    dataset = Dataset.create(folder, Recipe(), CLASSES, {"train.csv": "0" * 64})
    (folder / "shards").mkdir()
    for number in range(2):
        plan = make_plan(
            asked,
            outcomes=dataset.outcomes(),
            settings=PlanSettings(clips_per_shard=CLIPS_PER_SHARD, retry={"network"}),
            held_locally=lambda clips: (),
            next_shard=dataset.next_shard_numbers(),
        )
        dataset.add_plan(plan)
        for shard in plan.shards():
            _commit(folder, shard, number, random)


def _commit(folder: Path, shard: PlannedShard, plan: int, random: np.random.Generator) -> None:
    entries = []
    for clip in shard.clips:
        named = {name: getattr(clip, name) for name in ("clip_id", "video_id", "time_start", "time_end", "label")}
        seconds = dict(zip(("fetch", "decode", "flow", "encode"), random.random(4).tolist(), strict=True))
        entry = {**named, "outcome": "ok", "detail": "", "source": "youtube", "requests": 3, "frames": 250}
        entry |= {"seconds": seconds, "rows": 16, "height": 256, "width": 340, "content": random.bytes(8).hex()}
        if random.random() < 0.05:
            entry |= {"outcome": "network", "detail": "youtube: timed out", "frames": 0}
            entry = {k: v for k, v in entry.items() if k not in ("rows", "height", "width", "content")}
        entries.append(entry)
    marker: dict[str, object] = {
        "shard": shard.name,
        "plan": plan_name(plan),
        "bytes": DATA_BYTES,
        "sha256": random.bytes(32).hex(),
    }
    marker |= {"clips": entries, "created": "2026-01-01T00:00:00+00:00", "versions": versions()}
    (folder / marker_name(shard.name)).write_bytes(sealed(marker))
    with (folder / data_name(shard.name, "parquet")).open("wb") as data:
        data.truncate(DATA_BYTES)


def measure(name: str, folder: Path) -> tuple[float, float, float, int]:
    """Seconds of the whole process, seconds and CPU seconds of the step, and bytes at its largest."""
    before, step = (part.format(folder=str(folder)) for part in STEPS[name])
    begun = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", _TIMED.format(before=before, step=step)], check=True, stdout=subprocess.PIPE, text=True
    )
    wall, cpu, peak = ran.stdout.rpartition("MEASURED ")[2].split()
    return time.perf_counter() - begun, float(wall), float(cpu), int(peak) * 1024


def show_rows(rows: Sequence[int], keep: Path | None, before: Path | None, picture: Path | None) -> None:
    """Measures, prints, keeps and draws what so many rows cost."""
    earlier = msgspec.json.decode(before.read_bytes(), type=list[many_rows.Cost]) if before is not None else []
    found = []
    for number in rows:
        with tempfile.TemporaryDirectory() as folder:
            found.append(many_rows.measure(number, Path(folder)))
    if keep is not None:
        keep.write_bytes(msgspec.json.encode(found))
    if picture is not None:
        write_picture(picture, many_rows.draw(found, earlier))
    Console(width=140).print(many_rows.table(found, earlier))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="keep the dataset here, and take it from here the next time")
    parser.add_argument("--rows", type=int, nargs="+", help="measure `plan` and `build` of so many annotation rows")
    parser.add_argument("--keep", type=Path, help="where what was measured of rows is kept, as JSON")
    parser.add_argument("--before", type=Path, help="what was kept so earlier, to be shown beside it")
    parser.add_argument("--picture", type=Path, help="where memory over time is drawn")
    parser.add_argument("--clips", type=int, nargs=2, help="measure the processor time of a clip with flow")
    parser.add_argument("--rounds", type=int, default=1, help="how often each number of clips is built")
    asked = parser.parse_args()
    if asked.clips:
        few, many = asked.clips
        with tempfile.TemporaryDirectory() as name:
            Console().print(clip_cost.table(clip_cost.measure(few, many, asked.rounds, Path(name))))
        return
    if asked.rows:
        show_rows(asked.rows, asked.keep, asked.before, asked.picture)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "data"
        if not (folder / "dataset.json").exists():
            make(folder, asked.shards)
        for index in (folder / "state").glob("loader-index-*.arrow"):
            index.unlink()
        table = Table("step", "s", "CPU s", "s with imports", "MB at most", box=None)
        for name in STEPS:
            whole, wall, cpu, peak = measure(name, folder)
            table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}", f"{whole:.2f}", f"{peak / 1e6:.0f}")
        Console().print(table)


if __name__ == "__main__":
    main()
