"""The metrics of a build, in one table: names as Prometheus has them, and what of the live state each is.

Ray puts `ray_` before a name, so boards and alerts (`docker/grafana.json`, `docker/alerts.yaml`) ask for both. A label
never holds an id, so the number of series stays small however large a dataset is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kinetics_pipeline.records import HOPE
from kinetics_pipeline.workflows.building.watch.live import Live

PREFIX = "kinetics_"
LIMITS = ("cache", "fetch", "decode", "flow", "encode", "keep", "process", "write")
"""What can set the pace."""
STEPS = ("fetch", "decode", "flow", "encode", "keep")
"""What the seconds of a clip are spent on."""
Values = Iterable[tuple[tuple[str, ...], float]]
"""Values of the labels, and the value."""


@dataclass(frozen=True)
class Metric:
    """A row of the table."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    values: Callable[[Live], Values]


def _counter(name: str, help: str, *labels: str, values: Callable[[Live], Values]) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", help, labels, values)


def _gauge(name: str, help: str, *labels: str, values: Callable[[Live], Values]) -> Metric:
    return Metric(f"{PREFIX}{name}", "gauge", help, labels, values)


def _one(value: Callable[[Live], float | None]) -> Callable[[Live], Values]:
    """The values of a metric without labels; none where there is nothing to say."""

    def values(live: Live) -> Values:
        found = value(live)
        return [] if found is None else [((), float(found))]

    return values


def _each(names: Iterable[str], found: Mapping[str, float]) -> Values:
    """A value for each name, 0 where there is none yet: Prometheus sees a counter rise from the second value on, so
    that the first failures would be missed."""
    return [((name,), float(found.get(name, 0.0))) for name in dict.fromkeys((*names, *found))]


def _left(live: Live) -> float | None:
    return live.left


def _cache_used(live: Live) -> float | None:
    return None if live.cache is None else live.cache.used


def _cache_free(live: Live) -> float | None:
    return None if live.cache is None else live.cache.free


TABLE: tuple[Metric, ...] = (
    _counter(
        "clips",
        "Clips that have come to their outcome.",
        "outcome",
        values=lambda live: _each(reversed(HOPE), live.outcomes),
    ),
    _counter("retries", "Tries made again after one that failed.", values=_one(lambda live: live.retries)),
    _counter("fetched_bytes", "Bytes fetched from network sources.", values=_one(lambda live: live.bytes_fetched)),
    _counter("written_bytes", "Bytes of data files in the dataset.", values=_one(lambda live: live.bytes_written)),
    _counter("shards", "Shards committed.", values=_one(lambda live: live.shards)),
    _counter(
        "requests",
        "Requests through a way out to a network source, over all runs.",
        "lane",
        values=lambda live: [((lane.name,), float(lane.requests)) for lane in live.lanes],
    ),
    _counter(
        "stage_seconds",
        "Seconds that clips took, by step.",
        "stage",
        values=lambda live: _each(STEPS, live.seconds),
    ),
    _gauge(
        "in_flight",
        "Videos, clips and shards that are worked on.",
        "stage",
        values=lambda live: [((stage.name,), float(stage.in_flight)) for stage in live.stages],
    ),
    _gauge(
        "queued",
        "Videos, clips and shards that wait for their stage.",
        "stage",
        values=lambda live: [((stage.name,), float(stage.waiting)) for stage in live.stages],
    ),
    _gauge("planned_clips", "Clips of the plan that is made.", values=_one(lambda live: live.total)),
    _gauge("done_clips", "Clips of the plan that have an outcome.", values=_one(lambda live: live.done)),
    _gauge("left_seconds", "Seconds until the plan is done, where it is known.", values=_one(_left)),
    _gauge("places", "Clips that can be worked on at a time.", values=_one(lambda live: live.places)),
    _gauge("gpus", "GPUs that clips are processed on.", values=_one(lambda live: live.gpus)),
    _gauge("busy_ratio", "Share of the cores, or of the GPUs, with a clip.", values=_one(lambda live: live.busy)),
    _gauge(
        "gpu_busy_ratio",
        "Share of the GPUs with a clip; 0 where there is none.",
        values=_one(lambda live: live.busy if live.gpus else 0.0),
    ),
    _gauge("nodes", "Nodes of the cluster.", values=_one(lambda live: len(live.nodes))),
    _gauge("stragglers", "Work that takes three times as long as is usual.", values=_one(lambda s: len(s.stragglers))),
    _gauge(
        "egress_paused",
        "Whether a way out to a network source is paused: 1 or 0.",
        "lane",
        values=lambda live: [((lane.name,), float(lane.paused_until > live.time)) for lane in live.lanes],
    ),
    _gauge(
        "egress_paused_seconds",
        "Seconds until a paused way out may go on.",
        "lane",
        values=lambda live: [((lane.name,), max(0.0, lane.paused_until - live.time)) for lane in live.lanes],
    ),
    _gauge("cache_bytes", "Bytes in the cache of the fullest node.", values=_one(_cache_used)),
    _gauge("cache_free_bytes", "Bytes its disk has to give.", values=_one(_cache_free)),
    _gauge(
        "cache_short",
        "Whether work waits for room in the cache: 1 or 0.",
        values=_one(lambda live: float(live.cache is not None and bool(live.cache.short))),
    ),
    _gauge("cached_clips", "Clips that are finished and in no shard yet.", values=_one(lambda live: live.in_cache)),
    _gauge(
        "limiting",
        "1 for what sets the pace.",
        "stage",
        values=lambda live: [((stage,), float(stage == live.limiting)) for stage in LIMITS],
    ),
    _gauge("stalled", "Whether nothing goes on: 1 or 0.", values=_one(lambda live: float(bool(live.no_progress)))),
    _gauge(
        "last_progress_timestamp_seconds",
        "Unix time at which something last went on.",
        values=_one(lambda live: live.progressed),
    ),
)


def samples(live: Live) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
    """Every metric with the values of its labels."""
    for metric in TABLE:
        for labels, value in metric.values(live):
            yield metric, labels, value
