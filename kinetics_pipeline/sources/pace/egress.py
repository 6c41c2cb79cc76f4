"""A way out to a source: when it may be used again. Pure: state in, state out, on Unix times; the caller keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from kinetics_pipeline.sources.base import EgressSignal

COOL_DOWN: Mapping[str, float] = MappingProxyType(
    {"throttled": 3600.0, "bot_check": 3600.0, "burst": 1800.0, "outage": 60.0}
)
"""Seconds an egress rests after a refusal that means the address, or when nobody answers there. YouTube's session
limits end after about an hour (yt-dlp's wiki, "Extractors"). Each further refusal in a row doubles it."""
LONGEST_COOL_DOWN = 86400.0
MOST_DOUBLINGS = 32
"""Beyond the longest rest from any cool-down; a row of refusals may be longer than a float is large."""
JITTER = 0.2
"""Largest share by which the time between two requests is lengthened; it is never shortened."""


Sharing = Literal["shared", "per-node", "per-proxy"]
"""Who has a rate of its own: all egresses together, every node, or every proxy."""


@dataclass(frozen=True)
class Egress:
    """What must be remembered of an egress, also by a driver that is started again."""

    next_allowed_at: float = 0.0
    paused_until: float = 0.0
    reason: str = ""
    """Why it is paused, or was."""
    refusals: int = 0
    """Refusals in a row; each doubles the cool-down."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Egress:
        return cls(**document)


def granted(egress: Egress, now: float, interval: float, chance: float) -> Egress | None:
    """The state after one more request at `now`, or None when it must wait.

    `interval`: least seconds between two requests. `chance`: a random number in [0, 1) for the jitter.
    """
    if now < egress.paused_until or now < egress.next_allowed_at:
        return None
    return replace(egress, next_allowed_at=now + interval * (1 + JITTER * chance))


def cool_downs(refusal: float) -> Mapping[str, float]:
    """`COOL_DOWN` for a user who wants `refusal` seconds after a refusal: the others in proportion."""
    return {signal: seconds * refusal / COOL_DOWN["bot_check"] for signal, seconds in COOL_DOWN.items()}


def paused(
    egress: Egress,
    now: float,
    signal: EgressSignal,
    wait: float | None = None,
    cool_down: Mapping[str, float] = COOL_DOWN,
) -> Egress:
    """The state after a refusal that means the address. `wait`: what the server asked for (Retry-After), in seconds.

    Requests that were refused together, while the egress was being paused, count once.
    """
    if now < egress.paused_until:
        return egress
    rest = wait if wait is not None else cool_down[signal] * 2 ** min(egress.refusals, MOST_DOUBLINGS)
    until = now + min(LONGEST_COOL_DOWN, max(1.0, rest))
    return replace(egress, paused_until=until, reason=signal, refusals=egress.refusals + 1)


def answered(egress: Egress) -> Egress:
    """The state after an answer that was no such refusal."""
    return replace(egress, refusals=0) if egress.refusals else egress
