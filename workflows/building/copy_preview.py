"""What `plan` says of public copies: how long their archives take and what limits that, the disk, and what is left for
the next source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kinetics_pipeline.annotations.download import received
from kinetics_pipeline.annotations.published import lacking_in_copy
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.building.copies import UnfetchedCopy
from kinetics_pipeline.workflows.building.time_needed import USUAL_CLIP, FrameTimes
from kinetics_pipeline.workflows.runtime.progress import duration, size

ASSUMED_RATE = 12.5e6
"""Bytes a second (100 Mbit/s), taken where nothing large was fetched that could tell."""


@dataclass(frozen=True)
class Stages:
    """Seconds that each stage would take alone."""

    network: float
    decoding: float
    flow: float

    @property
    def total(self) -> float:
        """Fetching and processing go on side by side; decoding and flow share the cores."""
        return max(self.network, self.decoding + self.flow)

    @property
    def limit(self) -> str:
        if self.network >= self.decoding + self.flow:
            return "the network"
        return "flow" if self.flow > self.decoding else "decoding"


def stages(work: Plan, archive_bytes: int, recipe: Recipe, times: FrameTimes, rate: float) -> Stages:
    """The time of a plan whose clips all come from archives, on this machine's cores. `rate`: bytes a second."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    seconds = 0.0
    for begin, end in zip(work.table["time_start"].to_pylist(), work.table["time_end"].to_pylist(), strict=True):
        seconds += USUAL_CLIP if begin is None or end is None else end - begin
    frames = seconds * recipe.fps
    return Stages(archive_bytes / rate, frames * times.other / cores, frames * times.flow / cores)


def about_copies(work: Plan, copies: Sequence[UnfetchedCopy], recipe: Recipe, times: FrameTimes) -> list[str]:
    """The time that archives take and the disk they need, a line each."""
    total = sum(copy.bytes for copy in copies)
    measured = received.rate
    needed = stages(work, total, recipe, times, measured or ASSUMED_RATE)
    source = "as the annotations came" if measured else "assumed"
    lines = [
        f"archives    {duration(needed.total)}, limited by {needed.limit}: fetching {duration(needed.network)} (at "
        f"{size(measured or ASSUMED_RATE)}/s, {source}), decoding {duration(needed.decoding)} and flow "
        f"{duration(needed.flow)} on this machine's cores ({times.how})"
    ]
    unknown = sum(copy.unknown for copy in copies)
    more = f", and {counted(unknown, 'archive')} of unknown size" if unknown else ""
    peak = sum(copy.peak for copy in copies)
    lines += [
        f"            and up to {size(peak)} of the cache, for two groups at a time{more}",
        "            a shard holds clips of one group (--archives-per-plan); the default sampler mixes shards",
    ]
    return lines


def left_for_others(work: Plan, published: Sequence[str]) -> int | None:
    """About how many clips the public copy lacks; None where that is not known."""
    if len(published) != 1:
        return None
    splits: Mapping[str, int] = Counter(shard.rpartition("-")[0] for shard in work.table["shard"].to_pylist())
    return lacking_in_copy(published[0], splits)
