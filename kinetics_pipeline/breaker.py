"""When many different videos fail in the same doubtful way, it is not the videos. Pure.

A broken extractor or a blocked address shows as `no_format`, as texts nobody understands, or as refused media URLs.
Written down as outcomes of the videos, one bad night would cost thousands of clips.
"""

from __future__ import annotations

from collections.abc import Sequence

from kinetics_pipeline.records import Outcome
from kinetics_pipeline.sources.base import EgressSignal
from kinetics_pipeline.sources.refusals import MEDIA_REFUSED

VIDEOS = 10
"""Different videos in a row, with no other answer among them."""


def is_doubtful(outcome: Outcome | EgressSignal, detail: str) -> bool:
    """Whether a broken extractor or a blocked address would produce this failure too."""
    return outcome in ("no_format", "internal") or detail == MEDIA_REFUSED


def burst(answers: Sequence[tuple[str, Outcome | EgressSignal, str]], videos: int = VIDEOS) -> str | None:
    """The reason to pause the source that gave `answers` (video id, outcome, detail; oldest first), or None.

    Only the unbroken doubtful tail counts: a success, or a refusal that was understood, shows the extractor at work.
    One video that fails many times is one video.
    """
    doubtful: dict[str, str] = {}
    for video_id, outcome, detail in reversed(answers):
        if not is_doubtful(outcome, detail):
            break
        doubtful.setdefault(video_id, detail or outcome)
    if len(doubtful) < videos:
        return None
    latest = next(iter(doubtful.values()))
    return f"{len(doubtful)} videos in a row failed ({latest}): the extractor is broken, or the address is blocked"
