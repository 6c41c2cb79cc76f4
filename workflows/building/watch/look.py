"""What a driver has in hand at a moment, as numbers: taken every few seconds, by reading alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.executor import Moment
from kinetics_pipeline.workflows.building.lanes import Lane
from kinetics_pipeline.workflows.building.watch.live import CacheState

LONG = 60.0
"""Seconds of work from which it may be named as a straggler."""


@dataclass(frozen=True)
class LaneLook:
    """A way out to a source."""

    name: str
    source: str
    waiting: int
    """Videos that are wanted."""
    in_flight: int
    at_once: int
    interval: float
    """Least seconds between two videos; 0 where no rate holds."""
    paused_until: float
    """Unix time."""
    next_allowed_at: float
    """Unix time."""
    reason: str
    is_unreached: bool
    """Whether nobody has answered since somebody last did."""
    requests: int
    bytes: int


@dataclass(frozen=True)
class Work:
    """Something that is under way for long."""

    stage: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Look:
    """See the module."""

    now: Moment
    places: int = 1
    gpus: int = 0
    processing: int = 0
    waiting: int = 0
    """Clips that wait for a place."""
    fetching: int = 0
    writing: int = 0
    full: int = 0
    """Shards that could be written and wait."""
    later: int = 0
    """Clips that are tried again when their time has come."""
    later_at: float = 0.0
    """When the first of them is tried (monotonic)."""
    in_cache: int = 0
    lanes: tuple[LaneLook, ...] = ()
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Names of the nodes, by id."""
    cache: CacheState | None = None
    long: tuple[Work, ...] = ()
    """What is under way for longer than `LONG`, the longest first."""
    oldest: Mapping[str, Work] = field(default_factory=dict)
    """The work that is under way longest, by stage."""
    time_limit: float = 0.0
    """Seconds that decoding a clip may take."""
    unplaced: int = 0
    """Clips that were sent to the cluster and that it has no core for."""
    lacks: str = ""
    """What the clips that wait lack, and whether it can come; empty where nothing more is known."""
    store_trouble: str = ""
    """What keeps the dataset's store from taking anything; empty while it does."""

    @property
    def wanted(self) -> int:
        """Videos that wait for a lane."""
        return sum(lane.waiting for lane in self.lanes)


def look_at(driver: Driver, now: Moment, gpus: int = 0) -> Look:
    """`gpus`: GPUs that clips are processed on; 0 where cores do it."""
    fetch, process, write, disk = driver.fetch, driver.process, driver.write, driver.disk
    ages = sorted(_ages(driver, now.monotonic), key=lambda work: -work.seconds)
    open_shards = list(driver.shards)
    return Look(
        now=now,
        places=process.places,
        gpus=gpus,
        processing=len(process.running),
        waiting=len(process.waiting),
        fetching=len(fetch.running),
        writing=len(write.running),
        full=sum(shard.is_full for shard in open_shards) - len(write.running),
        later=len(driver.later),
        later_at=driver.later[0][0] if driver.later else 0.0,
        in_cache=sum(len(shard.finished) for shard in open_shards),
        lanes=tuple(_lane(lane) for _, lane in fetch.lanes),
        nodes=driver.executor.nodes(),
        cache=_cache(disk),
        long=tuple(work for work in ages if work.seconds > LONG),
        oldest={work.stage: work for work in reversed(ages)},
        time_limit=process.time_limit,
    )


def _cache(disk: Disk) -> CacheState | None:
    fullest = disk.fullest()
    if fullest is None:
        return None
    return CacheState(*fullest, disk.why_short() if disk.short_since is not None else "")


def _ages(driver: Driver, now: float) -> Iterator[Work]:
    for job, started in driver.process.running.values():
        yield Work("process", job.clip.clip_id, now - started)
    for ref, (fetched, _) in driver.fetch.running.items():
        yield Work("fetch", fetched.video_id, now - driver.fetch.started.get(ref, now))
    for shard, started in driver.write.running.values():
        yield Work("write", shard.name, now - started)


def _lane(lane: Lane) -> LaneLook:
    egress = lane.egress
    return LaneLook(
        name=lane.name,
        source=lane.source.name,
        waiting=len(lane.waiting),
        in_flight=lane.in_flight,
        at_once=lane.at_once,
        interval=lane.interval,
        paused_until=egress.paused_until,
        next_allowed_at=egress.next_allowed_at,
        reason=egress.reason,
        is_unreached=lane.is_on_trial or bool(lane.unreached),
        requests=lane.traffic.requests,
        bytes=lane.traffic.bytes_fetched,
    )
