"""The process of one format: writes it, and measures it as the benchmark says, a line of JSON for a line of JSON."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import json
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.utils.data import DataLoader, Sampler, default_collate

from kinetics_pipeline.loading.clip_dataset import EpochIndex
from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.workflows.benchmarks.loader_formats import OURS, Format
from kinetics_pipeline.workflows.benchmarks.loader_peers import PEERS

FORMATS: dict[str, Format] = OURS | PEERS
BATCH = 8
_PR_SET_THP_DISABLE = 41
"""prctl(2)."""


class Endless(Sampler[int]):
    """All clips, epoch after epoch, of `epochs` different ones."""

    def __init__(self, clips: int, epochs: int) -> None:
        self._clips, self._epochs = clips, epochs

    def __iter__(self) -> Iterator[int]:
        for epoch in itertools.cycle(range(self._epochs)):
            yield from (EpochIndex(clip, epoch) for clip in range(self._clips))


class FormatBenchmark:
    """One format: `FORMATS[name]` in `folder`, beside the clips it is made of."""

    def __init__(self, name: str, folder: Path, clips: int) -> None:
        self._format, self._folder, self._clips = FORMATS[name], folder, clips
        self._open: dict[Stream, Any] = {}

    def missing(self) -> str | None:
        return self._format.missing()

    def write(self, stream: Stream) -> int:
        """Bytes stored for all clips."""
        folder = self._folder / stream
        self._format.write(self._folder.parent, folder, stream)
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0

    def _samples(self, stream: Stream) -> Any:
        if stream not in self._open:
            self._open[stream] = self._format.samples(self._folder.parent, self._folder / stream, stream)
        return self._open[stream]

    def content(self, stream: Stream) -> str:
        """A hash of an epoch's samples: formats of the same JPEGs have the same."""
        samples, digest = self._samples(stream), hashlib.sha256()
        for clip in range(self._clips):
            sample = samples[EpochIndex(clip, 1)]
            for name in sorted({"video", "flow"} & sample.keys()):
                digest.update(sample[name].contiguous().numpy())
        return digest.hexdigest()

    def round(self, stream: Stream, epoch: int) -> dict[str, float]:
        """Seconds and CPU seconds a sample in this process, over one epoch."""
        samples = self._samples(stream)
        wall, cpu = time.perf_counter(), time.process_time()
        for clip in range(self._clips):
            samples[EpochIndex(clip, epoch)]
        return {
            "wall": (time.perf_counter() - wall) / self._clips,
            "cpu": (time.process_time() - cpu) / self._clips,
        }

    def bytes(self, stream: Stream, epochs: int) -> float:
        """Bytes read a sample: of system calls, and of the pages of mapped files that were touched, once checked."""
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)  # or pages of 2 MB are counted whole
        samples, total = self._format.samples(self._folder.parent, self._folder / stream, stream), 0
        for epoch in range(epochs):
            for counted in (False, True):  # first that every page is mapped: a fault maps others along
                for clip in range(self._clips):
                    Path("/proc/self/clear_refs").write_text("1")
                    before = _read()
                    samples[EpochIndex(clip, epoch)]
                    total += counted * (_read() - before + _touched(self._folder.parent))
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)
        return total / (epochs * self._clips)

    def workers(self, stream: Stream, epochs: int, seconds: float) -> dict[str, float]:
        """Seconds and CPU seconds a sample with two workers, theirs and this process', once they run evenly."""
        loader = DataLoader(
            self._samples(stream),
            batch_size=BATCH,
            sampler=Endless(self._clips, epochs),
            num_workers=2,
            collate_fn=self._format.collate or default_collate,
        )
        batches = iter(loader)
        for _ in range(8):
            next(batches)
        begin, cpu, samples = time.perf_counter(), _cpu(), 0
        while (wall := time.perf_counter() - begin) < seconds or samples < 4 * BATCH:
            next(batches)
            samples += BATCH
        return {"wall": wall / samples, "cpu": (_cpu() - cpu) / samples}


def _read() -> int:
    return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])


def _touched(folder: Path) -> int:
    """Bytes of the pages of files below `folder` that this process used since its references were cleared."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = str(folder) in line
        elif ours and line.startswith("Referenced:"):
            total += int(line.split()[1]) * 1024
    return total


def _cpu() -> float:
    """Seconds of this process and its children; theirs in ticks of the clock, a hundredth of a second."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    children = [child.cpu_times() for child in psutil.Process().children()]
    return used.ru_utime + used.ru_stime + sum(times.user + times.system for times in children)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    torch.set_num_threads(1)
    name, folder, clips = sys.argv[1:]
    measured = FormatBenchmark(name, Path(folder), int(clips))
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(measured, what)(*arguments)), file=answers)


if __name__ == "__main__":
    main()
