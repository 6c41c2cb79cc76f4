"""When many different videos fail in the same doubtful way, it is not the videos. Pure.

A broken extractor or a blocked address shows as `no_format`, as texts nobody understands, or as refused media URLs; a
server in trouble as errors of its own; one that is down as connections that fail. Written down as outcomes of the
videos, one bad night would cost thousands of clips. These rules hold for every network source.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kinetics_pipeline.records import Outcome
from kinetics_pipeline.sources.base import EgressSignal, Failure
from kinetics_pipeline.sources.youtube.texts import NOT_YET

VIDEOS = 10
"""Different videos in a row, with no other answer among them."""
OUTAGE_VIDEOS = 3
"""Different videos in a row for which nobody answered: fewer, because that says nothing at all of a video."""
UNREACHABLE = frozenset({"the connection to YouTube failed", "YouTube did not answer in time"})
"""Details of YouTube's failures that mean that nobody answered."""


def is_unreachable(failure: Failure | None) -> bool:
    """Whether a failure means that nobody answered."""
    return failure is not None and (failure.unreachable or failure.detail in UNREACHABLE)


def is_doubtful(outcome: Outcome | EgressSignal, detail: str) -> bool:
    """Whether a broken extractor, a blocked address or a server in trouble would produce this failure too."""
    return outcome in ("no_format", "internal", "network") and detail not in NOT_YET


def tail(answers: Sequence[tuple[str, Outcome | EgressSignal, str]]) -> frozenset[str]:
    """The different videos of the unbroken run of doubtful failures at the end of `answers` (video id, outcome,
    detail; oldest first). A success, or a refusal that was understood, shows the extractor at work and ends it."""
    videos = []
    for video_id, outcome, detail in reversed(answers):
        if not is_doubtful(outcome, detail):
            break
        videos.append(video_id)
    return frozenset(videos)


def burst(
    answers: Sequence[tuple[str, Outcome | EgressSignal, str]],
    videos: int = VIDEOS,
    familiar: Collection[str] = frozenset(),
) -> str | None:
    """The reason to pause the source that gave `answers` (as of `tail`), or None. One video that fails many times is
    one video.

    `familiar`: videos that have failed so before, which do not count: that they do it again is no news. Else a run
    that has only such videos left would pause for ever.
    """
    doubtful = tail(answers).difference(familiar)
    if len(doubtful) < videos:
        return None
    _, outcome, detail = answers[-1]
    return (
        f"{len(doubtful)} videos in a row failed ({detail or outcome}): "
        "the extractor is broken, or the address is blocked"
    )
