"""`demo`: every step on small videos: render, serve, build, kill, resume, train, evaluate. Needs no internet."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.records import Record, clip_id
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.workflows.demo.commands import Commands
from kinetics_pipeline.workflows.demo.picture import demo_picture
from kinetics_pipeline.workflows.demo.server import VideoServer, serving
from kinetics_pipeline.workflows.demo.videos import CLASSES, Rendered, annotated, render_videos, write_annotations
from kinetics_pipeline.workflows.flags.build_flags import DemoConfig
from kinetics_pipeline.workflows.pictures.sheets import write_picture

MARK = ".kinetics-demo"
"""A file in the folder of a demo: a folder that has it may be replaced, any other may not."""
SHORT_SIDE = 36
CLIPS_PER_SHARD = 16
TRAINING = {
    "batch-size": "24",
    "frames": "16",
    "crop": "32",
    "learning-rate": "0.1",
    "warmup": "10",
    "dropout": "0",
    "clip-gradients": "1",
    "precise-batch-norm": "5",
    "precision": "fp32",
    "evaluate-every": "0",
}
"""Flags for a training of some tens of steps from random weights; the recipe's numbers are for a hundred thousand.

Large batches of small clips: batch norm's statistics are then good from the first step. Gradients are clipped low, for
through fresh batch norm they grow backwards, a hundredfold to the first layer (Yang et al., "A Mean Field Theory of
Batch Normalization", 2019)."""
LEARNED = 0.9
"""The accuracy that flow must have after the default number of steps."""


@dataclass(frozen=True)
class Folder:
    """The places of everything in a demo's folder."""

    root: Path

    @property
    def annotations(self) -> Path:
        return self.root / "annotations.csv"

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def results(self) -> Path:
        return self.root / "results.json"

    @property
    def picture(self) -> Path:
        return self.root / "demo.png"

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    def run(self, stream: str) -> Path:
        return self.root / "runs" / stream

    def spooled(self) -> set[str]:
        """Clips that are finished and wait for their shard."""
        return {one for spool in self.cache.glob("*/spool") for one in Spool(spool).ids()}


def demo(config: DemoConfig) -> None:
    """Runs all steps and prints each on stdout. Raises UserError for a folder that holds something else, JobFailed when
    a step does not do what it should."""
    begun = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    folder = Folder(config.folder)
    _clear(folder.root)
    commands = Commands(console, folder.root / "logs")

    _headline(console, "1. Render videos whose classes are motions")
    clips = render_videos(folder.videos, config.clips, config.seed)
    write_annotations(folder.annotations, clips)
    kinds = sorted({f"{c.format[0]}x{c.format[1]}" for c in clips})
    videos = len({c.video_id for c in clips})
    console.print(f"  {videos} videos with {len(clips)} clips of {len(CLASSES)} classes in {folder.videos}: H.264,")
    console.print(f"  {', '.join(kinds)}")
    console.print(f"  {folder.annotations}: a row for each, one of a video that does not exist, one past a video's end")

    with serving(folder.videos, folder.root / "server.log") as server:
        _headline(console, "2. Build the dataset from a web server, kill the build half-way, and resume it")
        _build(console, commands, folder, server, clips)
    console.print(commands.run("status", "status", str(folder.dataset)).rstrip(), markup=False)
    _require_outcomes(folder, clips)

    _headline(console, f"3. Train I3D on both streams side by side, {config.steps} steps from random weights")
    commands.run_together({f"train-{stream}": _training(folder, stream, config) for stream in ("rgb", "flow")})

    _headline(console, "4. Evaluate each stream and the two fused on the validation clips")
    streams = [word for stream in ("rgb", "flow") for word in (f"--{stream}", str(folder.run(stream)))]
    words = ["evaluate", str(folder.dataset), "--split", "val", *streams, "--output", str(folder.results)]
    console.print(commands.run("evaluate", *words).rstrip(), markup=False)

    _headline(console, "5. Write a page about the dataset")
    commands.run("report", "report", str(folder.dataset), "--html", str(folder.page))
    write_picture(folder.picture, demo_picture(clips))
    _say_where(console, folder, clips, time.monotonic() - begun)
    flow = float(json.loads(folder.results.read_text())["scores"]["flow"]["top1"])
    default = DemoConfig()
    if config.steps >= default.steps and config.clips >= default.clips and flow < LEARNED:
        raise JobFailed(f"flow has {flow:.1%}; it should have at least {LEARNED:.0%}")


def _clear(root: Path) -> None:
    """Makes an empty folder with a demo's mark. Raises UserError for a folder that holds anything but a demo."""
    if root.exists() and not root.is_dir():
        raise UserError(f"--folder is {root}, which is not a folder")
    if root.is_dir() and any(root.iterdir()):
        if not (root / MARK).is_file():
            raise UserError(f"--folder is {root}, which holds something else than a demo; name another")
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()


def _build(console: Console, commands: Commands, folder: Folder, server: VideoServer, videos: list[Rendered]) -> None:
    """Builds, kills the build when about half of the shards are committed, and resumes it.

    Raises JobFailed when a video whose clips were finished is asked for again.
    """
    words = ["build", str(folder.annotations), "--output", str(folder.dataset), "--source", server.template]
    words += ["--cache", str(folder.cache), "--short-side", str(SHORT_SIDE), "--clips-per-shard", str(CLIPS_PER_SHARD)]

    def half_way() -> bool:
        shards = len(list(folder.dataset.glob("shards/*.json")))
        return shards >= max(1, len(videos) // 2 // CLIPS_PER_SHARD)

    killed = commands.kill_when("build", *words, event=half_way)
    if not killed:
        console.print("  It was finished before it could be killed; nothing is left to resume.")
        return
    records = Dataset.open(str(folder.dataset)).records()
    spooled = folder.spooled() - records.keys()
    before = len(server.requests())
    console.print(
        f"  Killed (SIGKILL) with {len(records)} clips in committed shards and {len(spooled)} more in the cache. "
        "The same command again:"
    )
    commands.run("resume", *words)
    again = {video_id for _, video_id in server.requests()[before:]}
    finished = _finished_videos(records.keys() | spooled, videos)
    if repeated := finished & again:
        raise JobFailed(f"{sorted(repeated)[0]} was finished and was asked for again")
    console.print(
        f"  The server's log: {len(again)} videos were asked for after the kill, "
        f"none of the {len(finished)} that were finished."
    )


def _finished_videos(clips: Iterable[str], videos: list[Rendered]) -> set[str]:
    """The videos that have all of their clips in `clips`."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for _, video_id, start, end, _ in annotated(videos):
        wanted[video_id].add(clip_id(video_id, start, end))
    return {video_id for video_id, asked in wanted.items() if asked <= set(clips)}


def _require_outcomes(folder: Folder, videos: list[Rendered]) -> None:
    """Raises JobFailed unless every rendered clip is ok and the two odd rows are recorded as what they are."""
    records: dict[str, Record] = Dataset.open(str(folder.dataset)).records()
    wrong = [r for v in videos if (r := records[clip_id(v.video_id, v.start, v.end)]).outcome != "ok"]
    if wrong:
        raise JobFailed(f"{wrong[0].clip_id} is {wrong[0].outcome}: {wrong[0].detail}")
    others = {r.outcome for r in records.values() if r.outcome != "ok"}
    if others != {"not_found", "too_short"}:
        raise JobFailed(f"the two odd rows became {sorted(others)}; expected not_found and too_short")


def _training(folder: Folder, stream: str, config: DemoConfig) -> list[str]:
    flags = [word for name, value in TRAINING.items() for word in (f"--{name}", value)]
    # Left and right are classes here, and a mirror would swap them.
    flags += ["--no-flip", "--no-scale-learning-rate", "--checkpoint-every", str(config.steps)]
    where = ["train", str(folder.dataset), "--model", "i3d", "--stream", stream, "--run", str(folder.run(stream))]
    return [*where, "--steps", str(config.steps), "--seed", str(config.seed), *flags]


def _say_where(console: Console, folder: Folder, videos: list[Rendered], seconds: float) -> None:
    first = next(v for v in videos if v.split == "val")
    beside = Path(sys.executable).with_name("kinetics-pipeline")
    program = "kinetics-pipeline" if shutil.which("kinetics-pipeline") else os.path.relpath(beside)
    words = [program, *prediction(folder, first)]
    _headline(console, f"Done in {seconds:.0f} s. What to look at, and what to do next")
    console.print(
        f"  {folder.page}  the dataset as a page; open it in a browser:\n"
        f"    {folder.page.resolve().as_uri()}\n"
        f"  {folder.picture}  what the classes look like, and their flow\n"
        f"  {folder.dataset}  the shards and their markers\n"
        f"  {folder.root}/runs  checkpoints, metrics.jsonl, TensorBoard\n"
        f"  {folder.root}/server.log, {folder.root}/logs  who asked for what; what the commands said\n"
        "Try next:\n"
        f"  {shlex.join(words)}\n"
        f"    (a clip that no network was trained on; it is '{first.label}')\n"
        f"  {program} build ANNOTATIONS.csv --output OUT --limit 100    your own, from YouTube\n"
        f"  {program} --help",
        markup=False,
    )


def prediction(folder: Folder, clip: Rendered) -> list[str]:
    """The words of a command that says what a clip is."""
    video, streams = folder.videos / f"{clip.video_id}.mp4", ("rgb", "flow")
    where = ["predict", str(video), "--start", str(clip.start), "--end", str(clip.end)]
    return [*where, *(word for stream in streams for word in (f"--{stream}", str(folder.run(stream))))]


def _headline(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")
