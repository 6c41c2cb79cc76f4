"""`state/live.json`: how far the build at work is, and what limits it. Its driver replaces it every 15 seconds.

Whoever reads it has to expect anything in it: a dataset may come from a stranger.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from kinetics_pipeline.storage.store import Store

LIVE = "state/live.json"
LARGEST = 1 << 20
"""Bytes of a file that is taken for one of ours; a real one has a few thousand."""
MOST_NAMED = 8
"""Stragglers, nodes and errors that are named; of the others their number is told."""

PAUSES = {
    "throttled": "it was asked to slow down",
    "bot_check": "it was taken for a bot",
    "outage": "it could not be reached",
    "burst": "many videos in a row failed alike, as a broken extractor or a blocked address would make them",
}
"""Why a lane is paused, in words."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2**40)]
_Rate = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Text = Annotated[str, msgspec.Meta(max_length=2000)]


class Stage(msgspec.Struct, frozen=True):
    """A stage of the graph: `fetch` counts videos, `process` clips, `write` shards."""

    name: _Text
    unit: _Text
    per_hour: _Rate
    """Units that came out, over the last minutes."""
    in_flight: _Count
    waiting: _Count
    usual: _Seconds | None = None
    """Median seconds that a unit took; None before one has come out."""


class Straggler(msgspec.Struct, frozen=True):
    """Work that takes at least a minute, and three times as long as is usual."""

    stage: _Text
    name: _Text
    """The clip, the video or the shard."""
    seconds: _Seconds
    usual: _Seconds


class Node(msgspec.Struct, frozen=True):
    """A node of the cluster."""

    name: _Text
    """A digest of its machine's name, as lanes have it."""
    clips: _Count
    """Clips that it has processed for this build."""


class LaneState(msgspec.Struct, frozen=True):
    """A way out to a network source."""

    name: _Text
    in_flight: _Count
    waiting: _Count
    """Videos."""
    requests: _Count
    bytes: _Count
    """Fetched over all runs, like the requests."""
    paused_until: _Seconds = 0.0
    """Unix time."""
    reason: _Text = ""


class LastError(msgspec.Struct, frozen=True):
    """The latest failure of a kind, final or not."""

    kind: _Text
    """An outcome, what an egress was told, or `lost` for work that vanished with its worker."""
    count: _Count
    name: _Text
    """The clip or the video."""
    detail: _Text
    time: _Seconds
    """Unix time."""


class CacheState(msgspec.Struct, frozen=True):
    """The cache on the fullest node."""

    used: _Count
    free: _Count
    limit: _Count | None = None
    short: _Text = ""
    """What there is not enough of; empty while there is room."""


class Live(msgspec.Struct, frozen=True):
    """What the file holds. Counts are of this run of `build` unless they say otherwise."""

    time: _Seconds
    """Unix time at which it was written."""
    since: _Seconds
    """Unix time at which the run began."""
    things: _Text
    """What is counted in `done` and `total`: clips of a plan, or archives that a plan waits for."""
    done: _Count
    total: _Count
    plan: _Text = ""
    ended: _Text = ""
    """How the run ended; empty while it is at work."""
    outcomes: dict[_Text, _Count] = {}
    retries: _Count = 0
    shards: _Count = 0
    bytes_written: _Count = 0
    bytes_fetched: _Count = 0
    in_cache: _Count = 0
    """Clips that are finished and in no shard yet."""
    stages: Annotated[list[Stage], msgspec.Meta(max_length=10)] = []
    seconds: dict[_Text, _Seconds] = {}
    """Seconds that the clips took, by step (`fetch`, `decode`, `flow`, ...)."""
    limiting: _Text = ""
    """The stage, or what else, that sets the pace."""
    why: _Text = ""
    places: _Count = 0
    """Clips that can be worked on at a time."""
    gpus: _Count = 0
    busy: _Share = 0.0
    """Share of the cores, or of the GPUs, that had a clip over the last minute."""
    no_progress: _Text = ""
    """Why nothing went on lately; empty while something does."""
    left: _Seconds | None = None
    """Seconds until the plan is done; None while there is nothing to go by."""
    left_low: _Seconds | None = None
    left_high: _Seconds | None = None
    """Eight times in ten it is between these."""
    stragglers: Annotated[list[Straggler], msgspec.Meta(max_length=100)] = []
    nodes: Annotated[list[Node], msgspec.Meta(max_length=10_000)] = []
    lanes: Annotated[list[LaneState], msgspec.Meta(max_length=10_000)] = []
    errors: Annotated[list[LastError], msgspec.Meta(max_length=100)] = []
    cache: CacheState | None = None
    progressed: _Seconds = 0.0
    """Unix time at which something last went on."""

    @property
    def per_second(self) -> float:
        """Clips a second over the last minutes."""
        return next((stage.per_hour / 3600 for stage in self.stages if stage.name == "process"), 0.0)


class DamagedLive(ValueError):
    """`state/live.json` is none that a build wrote."""


def read_live(store: Store) -> Live | None:
    """None when there is none. Raises DamagedLive for anything that a build has not written."""
    try:
        data = store.read(LIVE)
    except FileNotFoundError:
        return None
    if len(data) > LARGEST:
        raise DamagedLive(f"{store.uri}/{LIVE} has {len(data)} bytes; allowed: up to {LARGEST}")
    try:
        return msgspec.json.decode(data, type=Live)
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        raise DamagedLive(f"{store.uri}/{LIVE} is damaged; the build at work, or the next, writes it again") from None


def encoded(live: Live) -> bytes:
    """The bytes that are stored."""
    return msgspec.json.encode(live)
