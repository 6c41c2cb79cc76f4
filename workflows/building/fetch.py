"""The videos that wait for a network source: who may be asked when, and on which node.

A lane is one way out to one source: YouTube through this address or a proxy, a mirror's host. All lanes of a source
share its one budget, unless each node has an address of its own. A refusal that means the address pauses its lane and
charges the clips nothing.
"""

from __future__ import annotations

import json
import random
import time
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import ray

from kinetics_pipeline.records import Clip, Outcome
from kinetics_pipeline.sources.base import Download, EgressSignal, LocalSource, NetworkSource, is_network, is_signal
from kinetics_pipeline.sources.pace.breaker import VIDEOS, burst, is_doubtful, tail
from kinetics_pipeline.sources.pace.egress import COOL_DOWN, Egress, Sharing, answered, cool_downs, granted, paused
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.cache_folders import LOST, Workplace, named_nodes, nodes, on
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.stages import Fetched, Fetcher
from kinetics_pipeline.workflows.building.state import LANES, look_at_lanes

FOLLOW_EVERY = 15.0
"""Seconds after which nodes that came are looked for."""
Answer = tuple[str, Outcome | EgressSignal, str]
"""Video, outcome, detail."""


@dataclass
class Traffic:
    """What went through a lane, over all runs."""

    requests: int = 0
    bytes_fetched: int = 0
    bytes_whole: int = 0
    """Of the whole files, where a server said how long they are."""

    def add(self, download: Download) -> None:
        self.requests += download.requests
        self.bytes_fetched += download.bytes_fetched
        if download.media and download.requests:
            self.bytes_whole += download.bytes_whole or download.bytes_fetched


@dataclass
class Lane:
    """One way out to one source."""

    name: str
    """Says which way without naming an address: it is stored with the dataset."""
    source: NetworkSource
    interval: float
    """Seconds between two videos; 0 where no rate holds."""
    at_once: int
    """Downloads at a time."""
    node: str | None = None
    """The only node that has this way; None: any."""
    budget: str = ""
    """Lanes of one source and one budget share one interval."""
    waiting: OrderedDict[str, list[Clip]] = field(default_factory=OrderedDict)
    """The clips that are wanted, by video."""
    in_flight: int = 0
    egress: Egress = field(default_factory=Egress)
    answers: deque[Answer] = field(default_factory=lambda: deque(maxlen=4 * VIDEOS))
    """The latest ones, for the breaker."""
    traffic: Traffic = field(default_factory=Traffic)

    def to_json(self) -> dict[str, Any]:
        return {**self.egress.to_json(), **asdict(self.traffic)}

    def recall(self, document: Mapping[str, Any]) -> None:
        """Goes on from what an earlier driver kept of this lane."""
        self.egress = Egress(**{f.name: document[f.name] for f in fields(Egress) if f.name in document})
        self.traffic = Traffic(**{f.name: document[f.name] for f in fields(Traffic) if f.name in document})


@dataclass(frozen=True)
class Job:
    """All wanted clips of one video, asked in one go."""

    source: str
    video_id: str
    clips: tuple[Clip, ...]


class Fetching:
    """Gives the fetchers of the nodes their videos, as fast as the lanes allow."""

    def __init__(
        self,
        workplace: Workplace,
        store: Store,
        sources: Mapping[str, LocalSource | NetworkSource],
        disk: Disk,
        *,
        rate: float,
        proxies: Sequence[str] = (),
        egress: Sharing = "shared",
        slots: int = 4,
        time_limit: float = 1800.0,
        cool_down: float = COOL_DOWN["bot_check"],
        familiar: Iterable[str] = (),
    ) -> None:
        """`cool_down`: seconds that a lane rests after a refusal that means the address.

        `familiar`: videos that earlier runs saw fail as in a burst (`breaker`).
        """
        self.disk = disk
        self.workplace, self.store, self.slots, self.time_limit = workplace, store, slots, time_limit
        self.fetchers: dict[str, Any] = {}
        self.running: dict[ray.ObjectRef, tuple[Job, Lane, str, Any]] = {}
        self.doubted: frozenset[str] = frozenset()
        """After a result: the videos whose latest failures were a burst, and so are none of theirs."""
        self._cool_down = cool_downs(cool_down)
        self._familiar = set(familiar)
        self._random = random.Random()  # noqa: S311 - spreads requests, guards nothing
        self._known = look_at_lanes(store)
        self._rate, self._proxies, self._sharing = rate, proxies, egress
        self._sources = {key: source for key, source in sources.items() if is_network(source)}
        own = named_nodes() if egress == "per-node" else {}
        self.lanes = {key: self._opened(source, own) for key, source in self._sources.items()}
        self._follow_at = time.time() + FOLLOW_EVERY

    def _opened(self, source: NetworkSource, own: Mapping[str, str]) -> list[Lane]:
        """Lanes as `lanes_of` gives them, as earlier drivers left them."""
        lanes = list(lanes_of(source, self._rate, self._proxies, own, self.slots, self._sharing == "per-proxy"))
        for lane in lanes:
            lane.recall(self._known.get(lane.name, {}))
        return lanes

    def want(self, source: str, clip: Clip) -> None:
        """Puts a clip to the others that are wanted of its video. A video keeps its lane (sticky)."""
        self._lane(source, clip.video_id).waiting.setdefault(clip.video_id, []).append(clip)

    def _lane(self, source: str, video_id: str) -> Lane:
        lanes = self.lanes[source]
        return lanes[zlib.crc32(video_id.encode()) % len(lanes)]

    def dispatch(self, most: int, allowance: Callable[[str], int | None]) -> None:
        """Starts what the lanes grant now, at most `most` videos, so that downloads do not pile up. `allowance`: the
        bytes that a video may write to the cache; None when it has to wait for room."""
        now = time.time()
        if now >= self._follow_at:
            self._follow_nodes()
        for key, lanes in self.lanes.items():
            for lane in lanes:
                while lane.waiting and most > 0 and lane.in_flight < lane.at_once:
                    video_id = next(iter(lane.waiting))
                    allowed = allowance(video_id)
                    if allowed is None:
                        return
                    if isinstance(lane.source, YouTube) and not lane.source.could_have(video_id):
                        self._start(key, lane, allowed)  # asks nobody: neither a pause nor the rate concerns it
                        most -= 1
                        continue
                    following = granted(lane.egress, now, lane.interval, self._random.random())
                    if following is None:
                        break
                    for other in lanes:
                        if other.interval and other.budget == lane.budget:
                            other.egress = replace(other.egress, next_allowed_at=following.next_allowed_at)
                    self._start(key, lane, allowed)
                    most -= 1

    def _start(self, key: str, lane: Lane, allowed: int) -> None:
        video_id, clips = lane.waiting.popitem(last=False)
        job = Job(key, video_id, tuple(clips))
        node = lane.node or self._node(video_id)
        fetcher = self._fetcher(node)
        ref = fetcher.fetch.remote(lane.source, video_id, job.clips, self.time_limit, allowed)
        self.disk.promise(ref, allowed)
        self.running[ref] = (job, lane, node, fetcher)
        lane.in_flight += 1

    def _node(self, video_id: str) -> str:
        """The node of a video: the same one in every run, because partial downloads lie there."""
        alive = nodes()
        return alive[zlib.crc32(video_id.encode()) % len(alive)]

    def _fetcher(self, node: str) -> Any:
        if node not in self.fetchers:
            options = Fetcher.options(  # type: ignore[attr-defined]
                scheduling_strategy=on(node), max_concurrency=self.slots + 1
            )
            self.fetchers[node] = options.remote(self.workplace, self.slots)
        return self.fetchers[node]

    def result(self, ref: ray.ObjectRef) -> tuple[Job, Fetched | None]:
        """What became of a download; None when its fetcher or node died."""
        job, lane, node, fetcher = self.running.pop(ref)
        lane.in_flight -= 1
        allowed = self.disk.settle(ref)
        try:
            fetched: Fetched = ray.get(ref)
        except LOST:
            if self.fetchers.get(node) is fetcher:
                del self.fetchers[node]
            self._follow_nodes()
            return job, None
        if fetched.download.no_room:
            self.disk.was_too_small(job.video_id, allowed)
            return job, fetched
        lane.traffic.add(fetched.download)
        failure = fetched.download.failure
        self.doubted = frozenset()
        if failure is not None and is_signal(failure.outcome):
            lane.egress = paused(lane.egress, time.time(), failure.outcome, failure.wait, self._cool_down)
        elif fetched.download.requests:
            outcome, detail = (failure.outcome, failure.detail) if failure else ("ok", "")
            if not is_doubtful(outcome, detail):
                lane.egress = answered(lane.egress)
                self._familiar |= tail(lane.answers)  # they failed while the extractor was at work
            lane.answers.append((job.video_id, outcome, detail))
            if burst(lane.answers, familiar=self._familiar) is not None:
                lane.egress = paused(lane.egress, time.time(), "burst", cool_down=self._cool_down)
                self.doubted = tail(lane.answers)
                self._familiar |= self.doubted
                lane.answers.clear()
        self.save()
        return job, fetched

    def suspected(self, *, more_to_come: bool) -> frozenset[str]:
        """The videos whose latest failures may yet turn out to be a burst's, as long as more answers are to come."""
        return frozenset(
            video
            for lanes in self.lanes.values()
            for lane in lanes
            if more_to_come or lane.waiting or lane.in_flight
            for video in tail(lane.answers)
        )

    def _follow_nodes(self) -> None:
        """Where each node has addresses of its own: opens lanes for nodes that came, closes those of nodes that went,
        and deals what waits anew."""
        self._follow_at = time.time() + FOLLOW_EVERY
        if self._sharing != "per-node":
            return
        own = named_nodes()
        for key, source in self._sources.items():
            before = self.lanes[key]
            there = {lane.node for lane in before}
            if there in ({None}, set(own)):
                continue
            came = {node: name for node, name in own.items() if node not in there}
            lanes = [lane for lane in before if lane.node in own] + (self._opened(source, came) if came else [])
            self.lanes[key] = sorted(lanes, key=lambda lane: list(own).index(lane.node or ""))
            waiting = [clip for lane in before for clips in lane.waiting.values() for clip in clips]
            for lane in before:
                lane.waiting.clear()
            for clip in waiting:
                self.want(key, clip)

    def save(self) -> None:
        """Keeps the lanes' state with the dataset: a cool-down outlives the driver, and `status` shows it."""
        self._known |= {lane.name: lane.to_json() for lanes in self.lanes.values() for lane in lanes}
        self.store.write(LANES, json.dumps(self._known).encode())

    def forget(self, folders: Sequence[Path]) -> list[ray.ObjectRef]:
        """Takes away downloads that are no longer needed, wherever they lie."""
        return [fetcher.forget.remote(folders) for fetcher in self.fetchers.values()]

    @property
    def waiting(self) -> int:
        return sum(len(lane.waiting) for lanes in self.lanes.values() for lane in lanes)

    def resumes_at(self, later: Iterable[tuple[str, str]] = ()) -> float | None:
        """When the first paused lane that is waited for may go on (Unix time); None when one may go on now. `later`:
        (source, video) of tries that are still to be made, and will wait there too."""
        now = time.time()
        ends = [lane.egress.paused_until for lanes in self.lanes.values() for lane in lanes if lane.waiting]
        ends += [self._lane(source, video).egress.paused_until for source, video in later]
        return min(ends) if ends and min(ends) > now else None


def lanes_of(
    source: NetworkSource,
    rate: float,
    proxies: Sequence[str],
    own: Mapping[str, str],
    slots: int,
    each_its_own: bool = False,
) -> Iterator[Lane]:
    """`own`: the nodes that have addresses of their own, with their names: each has a budget, which its proxies share.
    `each_its_own`: every proxy has a budget instead."""
    if not isinstance(source, YouTube):
        yield Lane(source.name, source, interval=0.0, at_once=slots)
        return
    for node in own or [None]:
        suffix = f" node {own[node]}" if node else ""
        for number, proxy in enumerate(proxies or [None]):
            name = f"youtube{f' proxy {number + 1}' if proxy else ''}{suffix}"
            through = replace(source, options=replace(source.options, proxy=proxy)) if proxy else source
            budget = name if each_its_own else suffix
            yield Lane(name, through, interval=3600 / rate, at_once=1, node=node, budget=budget)
