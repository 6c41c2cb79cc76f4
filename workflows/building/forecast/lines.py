"""The lines of `plan` on time, requests and cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import cast

from kinetics_pipeline.annotations.download import received
from kinetics_pipeline.estimate import Estimate
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe, uses_gpu
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.base import LocalSource, NetworkSource, is_network
from kinetics_pipeline.workflows.building.copies import UnfetchedCopy
from kinetics_pipeline.workflows.building.copy_preview import ASSUMED_RATE
from kinetics_pipeline.workflows.building.forecast.hours import Forecast, Machines, forecast
from kinetics_pipeline.workflows.building.forecast.rates import Rates, Usage, cost
from kinetics_pipeline.workflows.building.forecast.timing import Sample, StageTimes
from kinetics_pipeline.workflows.building.time_needed import clip_seconds
from kinetics_pipeline.workflows.runtime.progress import duration, size
from kinetics_pipeline.workflows.training.feeding import cores_shown

TRIED = 400
"""Clips of a plan that are looked through for some that a local source has."""
LONGEST, WHOLE_BYTES = 10.0, 10_000_000
"""Seconds of a clip that are timed, and bytes of a whole video that is: its frames are held in memory."""
WRITES_A_SHARD = 2
"""Its data file and its marker."""


@dataclass(frozen=True)
class Work:
    """What is to be done, as `plan` knows it."""

    plan: Plan
    total: Estimate
    recipe: Recipe
    youtube: int
    """Videos that YouTube is asked for."""
    fetch: float
    """Seconds that the network takes for everything."""
    kept: bool
    """Whether segments are kept, too."""


def local_samples(plan: Plan, sources: Sequence[LocalSource | NetworkSource], most: int) -> list[Sample]:
    """Some clips, far from each other in the plan, that lie as files in a local source."""
    local = [cast(LocalSource, source) for source in sources if not is_network(source)]
    clips = [clip for shard in plan.shards(local=True) for clip in shard.clips] if local else []
    found: list[Sample] = []
    for clip in clips[:: max(1, len(clips) // TRIED)] if clips else []:
        media = next((one for source in local for one in source.candidates(clip) if one.inside is None), None)
        if media is None:
            continue
        if clip.time_start is not None and clip.time_end is not None:
            end = min(clip.time_end, clip.time_start + LONGEST)
            found.append(Sample(media.path, clip.time_start, end, media.offset))
        elif media.path.stat().st_size <= WHOLE_BYTES:
            found.append(Sample(media.path))
    return found[:: max(1, len(found) // most)][:most]


def fetch_seconds(youtube_days: float, copies: Sequence[UnfetchedCopy]) -> float:
    """YouTube at the rate that it is asked at, and archives at the speed at which the annotations came."""
    archives = sum(copy.bytes for copy in copies) / (received.rate or ASSUMED_RATE)
    return max(youtube_days * 86400, archives)


def lines(work: Work, times: StageTimes, on: Machines, rates: Rates | None) -> Iterator[str]:
    """Time by stage and in all, requests, and cost where there are rates."""
    seconds = forecast(clip_seconds(work.plan.table) * work.recipe.fps, times, work.recipe, on, work.fetch)
    stages = {
        "fetching": seconds.fetch,
        "decoding": seconds.decode,
        "flow": seconds.flow,
        "encoding": seconds.encode,
    }
    told = ", ".join(f"{name} {duration(value)}" for name, value in stages.items() if value)
    yield f"hours       {duration(seconds.total)} in all, limited by {seconds.limit}, on {_shown(on)}"
    yield f"            {told}"
    yield f"            {_how(work.recipe, times, on)}"
    yield from _feeding(work.recipe, times, on)
    yield f"requests    {_requests(work)}"
    if rates is not None:
        yield from _cost(work, seconds, on, rates)


def _shown(on: Machines) -> str:
    cores = counted(on.cores, "core")
    gpus = f" and {counted(on.gpus, 'GPU')}" if on.gpus else ""
    if on.measured:
        return f"this machine's {cores}{gpus}"
    return f"{counted(on.nodes, 'node')} of {cores}{gpus}"


def _how(recipe: Recipe, times: StageTimes, on: Machines) -> str:
    how = times.how if on.measured else f"extrapolated from this machine ({times.how})"
    if uses_gpu(recipe) and not times.gpu:
        return f"{how}; the GPU's share by a model of an H100, not measured"
    return how


def _feeding(recipe: Recipe, times: StageTimes, on: Machines) -> Iterator[str]:
    """The cores that a GPU takes beside it: here, where it computes flow, and later, where it trains."""
    if uses_gpu(recipe) and on.all_gpus and times.flow:
        fps = 1 / times.flow
        beside = max(1, ceil(fps * (times.decode + times.encode)))
        what = "a GPU" if times.gpu else "an H100 (by a model)"
        cores = f"{beside} core{'s' if beside > 1 else ''}"
        yield f"            {what} computes the flow of {fps:.0f} frames a second: {cores} decode and encode them"
    yield f"training    an H100 takes {cores_shown(recipe.layout)}; expected, not measured"


def _requests(work: Work) -> str:
    asked = f"{counted(work.youtube, 'video')} asked of YouTube; " if work.youtube else ""
    writes = WRITES_A_SHARD * work.total.shards + (work.total.clips if work.kept else 0)
    return f"{asked}about {counted(writes, 'object')} written"


def _cost(work: Work, seconds: Forecast, on: Machines, rates: Rates) -> Iterator[str]:
    hours = seconds.total / 3600
    written = work.total.bytes + (work.total.kept if work.kept else 0)
    used = Usage(hours * on.all_cores, hours * on.all_gpus, written / 1e9, written / 1e9)
    paid = cost(used, rates)
    yield f"cost        {paid.once:.2f} once, and {paid.a_month:.2f} a month for {size(written)} kept"
    parts = [f"{used.core_hours:.1f} core-hours {paid.cores:.2f}"]
    if used.gpu_hours:
        parts.append(f"{used.gpu_hours:.1f} GPU-hours {paid.gpus:.2f}")
    yield f"            {', '.join(parts)}, {size(written)} out {paid.out:.2f}"
