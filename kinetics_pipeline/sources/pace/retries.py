"""Decides what is done next for a clip, from everything that was tried. Pure: a killed driver that replays the events
of a clip decides as it did before.

A clip goes through its sources in order. What a source says for good (`gone`, `not_found`, `decode`, `private`, ...)
sends the clip to the next source at once. What another try may change (`network`, `no_format`, `internal`) is tried
again at the same source, with backoff, a bounded number of times; the clip then ends for this run, because nobody
knows yet whether that source has it. What a refusal says of the address that asked (`throttled`, `bot_check`) charges
the clip nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from kinetics_pipeline.records import OUTCOMES, RETRYABLE, Outcome, most_hopeful
from kinetics_pipeline.sources.base import EgressSignal


@dataclass(frozen=True)
class Event:
    """What came of one try at one source."""

    source: str
    """What tells the source from the others, also in a later run with another list of sources."""
    outcome: Outcome | EgressSignal
    detail: str = ""


@dataclass(frozen=True)
class Again:
    """How often, and after how long, a retryable outcome is tried again."""

    attempts: int
    """Tries at one source in all, whatever came of the earlier ones."""
    first_wait: float
    """Seconds before the second try; each further wait is twice the one before."""
    longest_wait: float


POLICY: Mapping[str, Again] = MappingProxyType(
    {
        "network": Again(attempts=3, first_wait=5.0, longest_wait=300.0),
        "no_format": Again(attempts=2, first_wait=60.0, longest_wait=300.0),
        "internal": Again(attempts=2, first_wait=1.0, longest_wait=60.0),
    }
)
"""Every outcome that is tried again; all others are final for their source."""


@dataclass(frozen=True)
class Try:
    """Ask this source, this long after the last event."""

    source: str
    after_seconds: float


@dataclass(frozen=True)
class Done:
    """Nothing is left to try in this run: this is the clip's outcome."""

    outcome: Outcome
    detail: str


def decide(events: Sequence[Event], sources: Sequence[str], policy: Mapping[str, Again] = POLICY) -> Try | Done:
    """What follows from `events`, in the order in which they happened, for a clip that may come from `sources`, best
    first.

    A clip that came through is not asked about: its record exists. Events of sources that this run does not have
    (the list of sources may change between runs) count for nothing. Raises ValueError without a source.
    """
    if not sources:
        raise ValueError("a clip needs a source")
    if not events:
        return Try(sources[0], 0.0)
    charged = [event for event in events if event.source in sources and event.outcome in OUTCOMES]
    for source in sources:
        tried = [event for event in charged if event.source == source]
        if not tried:
            return Try(source, 0.0)
        if any(event.outcome not in RETRYABLE for event in tried):
            continue
        again = policy[tried[-1].outcome]
        if len(tried) >= again.attempts:
            break
        return Try(source, min(again.longest_wait, again.first_wait * 2 ** (len(tried) - 1)))
    details = dict.fromkeys(event.detail for event in charged if event.detail)
    return Done(
        most_hopeful([_verdict(charged, source) for source in {event.source for event in charged}]), "; ".join(details)
    )


def _verdict(events: Sequence[Event], source: str) -> Outcome:
    """What a source that failed says of the clip: what it said for good, if it did; else the most hopeful."""
    outcomes = [cast(Outcome, event.outcome) for event in events if event.source == source]
    return most_hopeful([outcome for outcome in outcomes if outcome not in RETRYABLE] or outcomes)
