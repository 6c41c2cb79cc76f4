"""The ways out to network sources: which videos wait for which, and when each may be asked again.

A lane is one way out to one source: YouTube through this address or a proxy, a mirror's host. All lanes of a source
share its one budget, unless each node has an address of its own. A refusal that means the address pauses its lane and
charges the clips nothing.
"""

from __future__ import annotations

import json
import random
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.records import CLIP_ID, Clip
from kinetics_pipeline.sources.base import Download, Failure, LocalSource, NetworkSource, is_network, is_signal
from kinetics_pipeline.sources.pace.breaker import (
    OUTAGE_VIDEOS,
    Doubt,
    canary_answered,
    heard,
    is_doubtful,
    is_unreachable,
    nothing_left,
    taken_back,
    unsettled,
)
from kinetics_pipeline.sources.pace.egress import COOL_DOWN, Egress, Sharing, answered, cool_downs, granted, paused
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.executor import Executor, Moment
from kinetics_pipeline.workflows.building.state import LANES, look_at_lanes

FOLLOW_EVERY = 15.0
"""Seconds after which nodes that came are looked for."""


@dataclass(frozen=True)
class Heard:
    """What an answer comes to."""

    failure: Failure | None = None
    """Why clips are missing, for what the lane knows; None where none is."""
    doubted: frozenset[str] = frozenset()
    """Videos whose latest failures, with this one, were a burst or an outage, and so none of theirs: usually none."""


@dataclass(frozen=True)
class Pace:
    """How network sources may be asked, and for how long."""

    rate: float
    """Videos an hour that a paced source may be asked for."""
    proxies: Sequence[str] = ()
    sharing: Sharing = "shared"
    """Who has a rate of its own."""
    slots: int = 4
    """Downloads of one node at a time."""
    time_limit: float = 1800.0
    """Seconds that one download may take."""
    cool_down: float = COOL_DOWN["bot_check"]
    """Seconds that a lane rests after a refusal that means the address."""
    max_wait: float = 5400.0
    """Seconds for which paused lanes are waited for when there is nothing else to do."""


@dataclass
class Traffic:
    """What went through a lane, over all runs."""

    requests: int = 0
    bytes_fetched: int = 0
    bytes_whole: int = 0
    """Bytes of the whole files, where a server said how long they are."""

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
    doubt: Doubt = field(default_factory=Doubt)
    """What the latest answers leave in doubt, for the breaker."""
    is_asking: bool = False
    """Whether the canary is under way."""
    unreached: set[str] = field(default_factory=set)
    """The videos for which nobody answered, since somebody last did."""
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def is_on_trial(self) -> bool:
        """Whether nobody has answered since an outage: then one video at a time is tried."""
        return self.egress.reason == "outage" and self.egress.refusals > 0

    def to_json(self) -> dict[str, Any]:
        sound = self.doubt.sound
        canary = None if sound is None else [sound.clip_id, sound.video_id, sound.time_start, sound.time_end]
        return {**self.egress.to_json(), **asdict(self.traffic), "canary": canary}

    def recall(self, document: Mapping[str, Any]) -> None:
        """Goes on from what an earlier driver kept of this lane."""
        self.egress = Egress(**{f.name: document[f.name] for f in fields(Egress) if f.name in document})
        self.traffic = Traffic(**{f.name: document[f.name] for f in fields(Traffic) if f.name in document})
        sound = _canary(document.get("canary"))
        self.doubt = Doubt(sound=sound, must_ask=sound is not None and self.egress.refusals > 0)


class Lanes:
    """All ways out of one build, with the videos that wait for each."""

    def __init__(
        self,
        executor: Executor,
        store: Store,
        sources: Mapping[str, LocalSource | NetworkSource],
        pace: Pace,
        *,
        familiar: Iterable[str] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`familiar`: videos that earlier runs saw fail as in a burst (`breaker`). `chance`: random numbers in [0, 1),
        which spread requests."""
        self.executor, self.store, self.pace = executor, store, pace
        self._cool_down = cool_downs(pace.cool_down)
        self._familiar = frozenset(familiar)
        self._chance = chance
        self._known = look_at_lanes(store)
        self._sources = {key: source for key, source in sources.items() if is_network(source)}
        own = executor.nodes() if pace.sharing == "per-node" else {}
        self.by_source = {key: self._opened(source, own) for key, source in self._sources.items()}
        self._follow_at = executor.now().unix + FOLLOW_EVERY

    def __iter__(self) -> Iterator[tuple[str, Lane]]:
        """Every lane, with the key of its source."""
        return ((key, lane) for key, lanes in self.by_source.items() for lane in lanes)

    def _opened(self, source: NetworkSource, own: Mapping[str, str]) -> list[Lane]:
        """Lanes as `lanes_of` gives them, as earlier drivers left them."""
        lanes = list(lanes_of(source, self.pace, own))
        for lane in lanes:
            lane.recall(self._known.get(lane.name, {}))
            if lane.doubt.sound is None or not source.accepts(lane.doubt.sound.video_id):
                lane.doubt = Doubt(settled=self._familiar)
        return lanes

    def put_first(self, videos: Iterable[str]) -> None:
        """Lets these videos pass the others that wait."""
        for video_id in videos:
            for _, lane in self:
                if video_id in lane.waiting:
                    lane.waiting.move_to_end(video_id, last=False)

    def want(self, source: str, clip: Clip) -> None:
        """Adds a clip to the others that are wanted of its video. A video keeps its lane."""
        self._lane(source, clip.video_id).waiting.setdefault(clip.video_id, []).append(clip)

    def _lane(self, source: str, video_id: str) -> Lane:
        lanes = self.by_source[source]
        return lanes[zlib.crc32(video_id.encode()) % len(lanes)]

    def grants(self, source: str, lane: Lane, video_id: str, now: Moment) -> bool:
        """Whether a lane may ask for a video now; the answer yes uses up its turn."""
        if not lane.source.accepts(video_id):
            return True  # nobody is asked: neither a pause nor the rate concerns it
        if lane.is_on_trial and lane.in_flight:
            return False
        following = granted(lane.egress, now.unix, lane.interval, self._chance())
        if following is None:
            return False
        for other in self.by_source[source]:
            if other.interval and other.budget == lane.budget:
                other.egress = replace(other.egress, next_allowed_at=following.next_allowed_at)
        return True

    def canary(self, source: str, lane: Lane, now: Moment) -> Clip | None:
        """The clip that has to be asked again now, before any other; None where none is, or its turn has not come."""
        if not lane.waiting and not lane.in_flight:
            lane.doubt = nothing_left(lane.doubt)
        clip = lane.doubt.canary_due
        if clip is None or lane.is_asking or not (lane.waiting or lane.doubt.suspects):
            return None
        if lane.in_flight >= lane.at_once or not self.grants(source, lane, clip.video_id, now):
            return None
        return clip

    def answered(self, lane: Lane, clip: Clip, download: Download, now: Moment) -> Heard:
        """Takes in what was answered for the video of `clip`. Raises WorkRemains for refused credentials."""
        _require_credentials(download)
        lane.traffic.add(download)
        failure = download.failure
        if is_unreachable(failure):
            assert failure is not None
            lane.doubt, _ = heard(unsettled(lane.doubt, clip.video_id), clip, failure.outcome, failure.detail)
            lane.unreached.add(clip.video_id)
            others_wait = bool(lane.waiting.keys() - lane.unreached)
            enough = len(lane.unreached) >= (OUTAGE_VIDEOS if others_wait else 2)
            if lane.doubt.sound is None and (lane.is_on_trial or enough):
                return Heard(failure, self._outage(lane, now))
            if enough:
                lane.doubt = nothing_left(lane.doubt)  # whether it is an outage, the canary tells
            self.save()
            return Heard(failure)
        if not download.requests:
            self.save()
            return Heard(failure)
        self._reached(lane)
        outcome, detail = (failure.outcome, failure.detail) if failure is not None else ("ok", "")
        lane.doubt, verdict = heard(lane.doubt, clip, outcome, detail)
        doubted: frozenset[str] = frozenset()
        if verdict == "pause":
            self._pause(lane, failure, now)
        elif verdict == "burst":
            doubted = self._burst(lane, None, now)
        elif verdict == "charge":
            failure = Failure("no_format", detail)
        elif not is_doubtful(outcome, detail):
            lane.egress = answered(lane.egress)
        self.save()
        return Heard(failure, doubted)

    def canary_answered(self, lane: Lane, clip: Clip, download: Download, now: Moment) -> Heard:
        """Takes in what was answered for the canary. Raises WorkRemains for refused credentials."""
        lane.is_asking = False
        _require_credentials(download)
        lane.traffic.add(download)
        failure = download.failure
        if is_unreachable(failure):
            return Heard(failure, self._outage(lane, now))
        self._reached(lane)
        outcome, detail = (failure.outcome, failure.detail) if failure is not None else ("ok", "")
        lane.doubt, verdict = canary_answered(lane.doubt, outcome, detail)
        if verdict == "burst":
            doubted = self._burst(lane, failure, now)
            self.save()
            return Heard(failure, doubted)
        lane.egress = answered(lane.egress)
        self.save()
        return Heard(failure)

    def canary_lost(self, lane: Lane) -> None:
        """Its node went, or had no room: it is asked again."""
        lane.is_asking = False

    def _pause(self, lane: Lane, failure: Failure | None, now: Moment) -> None:
        """`failure`: the refusal; None or one that is none: a burst."""
        if failure is not None and is_signal(failure.outcome):
            lane.egress = paused(lane.egress, now.unix, failure.outcome, failure.wait, self._cool_down)
        else:
            lane.egress = paused(lane.egress, now.unix, "burst", cool_down=self._cool_down)

    def _burst(self, lane: Lane, failure: Failure | None, now: Moment) -> frozenset[str]:
        self._pause(lane, failure, now)
        doubted = lane.doubt.suspects
        lane.doubt = taken_back(lane.doubt)
        return doubted

    def _reached(self, lane: Lane) -> None:
        lane.unreached.clear()
        if lane.is_on_trial:
            lane.egress = answered(lane.egress)

    def _outage(self, lane: Lane, now: Moment) -> frozenset[str]:
        """Nobody answers: the videos that are not charged with it."""
        lane.egress = paused(lane.egress, now.unix, "outage", cool_down=self._cool_down)
        doubted = frozenset(lane.unreached) | lane.doubt.suspects
        lane.doubt = replace(lane.doubt, recent=(), must_ask=lane.doubt.sound is not None)
        self.save()
        return doubted

    def suspected(self, *, more_to_come: bool) -> frozenset[str]:
        """The videos whose latest failures may yet turn out to be none of theirs, as long as that will be known."""
        found: set[str] = set()
        for _, lane in self:
            if lane.doubt.sound is not None:
                found |= lane.doubt.suspects  # the canary will tell
            elif more_to_come or lane.waiting or lane.in_flight:
                found |= lane.doubt.suspects | lane.unreached
        return frozenset(found)

    def follow_nodes(self, now: Moment, *, at_once: bool = False) -> None:
        """Where each node has addresses of its own: opens lanes for nodes that came, closes those of nodes that went,
        and deals what waits again. Looks every `FOLLOW_EVERY` seconds."""
        if not at_once and now.unix < self._follow_at:
            return
        self._follow_at = now.unix + FOLLOW_EVERY
        if self.pace.sharing != "per-node":
            return
        own = self.executor.nodes()
        for key, source in self._sources.items():
            before = self.by_source[key]
            there = {lane.node for lane in before}
            if there in ({None}, set(own)):
                continue
            came = {node: name for node, name in own.items() if node not in there}
            lanes = [lane for lane in before if lane.node in own] + (self._opened(source, came) if came else [])
            self.by_source[key] = sorted(lanes, key=lambda lane: list(own).index(lane.node or ""))
            waiting = [clip for lane in before for clips in lane.waiting.values() for clip in clips]
            for lane in before:
                lane.waiting.clear()
            for clip in waiting:
                self.want(key, clip)

    def save(self) -> None:
        """Keeps the lanes' state with the dataset: a cool-down outlives the driver, and `status` shows it."""
        self._known |= {lane.name: lane.to_json() for _, lane in self}
        self.store.write(LANES, json.dumps(self._known).encode())

    def resumes_at(self, now: Moment, later: Iterable[tuple[str, str]] = ()) -> float | None:
        """The time when the first paused lane that is waited for may go on (Unix time); None when one may go on now.
        `later`: (source, video) of tries that are still to be made, and will wait there too."""
        ends = [
            lane.egress.paused_until
            for _, lane in self
            if lane.waiting or (lane.doubt.suspects and lane.doubt.sound is not None)
        ]
        ends += [self._lane(source, video).egress.paused_until for source, video in later]
        return min(ends) if ends and min(ends) > now.unix else None


def _require_credentials(download: Download) -> None:
    if download.failure is not None and download.failure.outcome == "credentials":
        raise WorkRemains(download.failure.detail)


def _canary(kept: object) -> Clip | None:
    """The canary that an earlier driver kept; None for anything else: the state may be anybody's."""
    if not (isinstance(kept, list) and len(kept) == 4 and all(isinstance(one, str) for one in kept[:2])):
        return None
    clip_id, video_id, start, end = kept
    times = all(isinstance(one, float | int) and 0 <= one < 1e7 for one in (start, end)) or (start, end) == (None, None)
    if not times or CLIP_ID.fullmatch(clip_id) is None or not clip_id.startswith(video_id):
        return None
    return Clip(clip_id, video_id, start, end, None, "")


def lanes_of(source: NetworkSource, pace: Pace, own: Mapping[str, str]) -> Iterator[Lane]:
    """The lanes of a source. `own`: the nodes that have addresses of their own, with their names: each has a budget,
    which its proxies share."""
    if not source.paced:
        yield Lane(source.name, source, interval=0.0, at_once=pace.slots)
        return
    for node in own or [None]:
        suffix = f" node {own[node]}" if node else ""
        for number, proxy in enumerate(pace.proxies or [None]):
            name = f"{source.name}{f' proxy {number + 1}' if proxy else ''}{suffix}"
            way = source.through(proxy) if proxy else source
            budget = name if pace.sharing == "per-proxy" else suffix
            yield Lane(name, way, interval=3600 / pace.rate, at_once=1, node=node, budget=budget)
