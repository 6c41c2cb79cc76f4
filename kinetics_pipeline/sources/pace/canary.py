"""Whether failures are the videos' or the address's: a video that came well lately (the canary) is asked again. Pure.

A blocked address and a broken extractor answer with failures that single videos have too. So doubtful failures of
different videos are only suspects. Before they are charged, the canary is asked through the same way out: if it comes
well, the failures stand; if it fails too, the way rests and none of the suspects is charged. Where nothing came well
yet, many suspects in a row count as a failed canary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kinetics_pipeline.records import Clip, Outcome
from kinetics_pipeline.sources.base import EgressSignal, is_signal
from kinetics_pipeline.sources.pace.breaker import VIDEOS, is_doubtful
from kinetics_pipeline.sources.youtube.texts import IN_WORDS

SUSPECTS = 5
"""Different videos, among the latest answers, whose doubtful failures have the canary asked."""
WINDOW = 20
"""Answers that are looked at."""

Answer = tuple[str, Outcome | EgressSignal, str]
"""Video, outcome, detail."""
Verdict = Literal["stands", "charge", "pause", "burst"]
"""What follows from an answer. `stands`: nothing more. `charge`: a refusal in words that this one video alone gave, as
far as is known: it counts as its failure. `pause`: the refusal is the address's. `burst`: so are the suspects'
failures, which are taken back."""


@dataclass(frozen=True)
class Doubt:
    """What is remembered of the answers that came through one way out."""

    recent: tuple[Answer, ...] = ()
    sound: Clip | None = None
    """The canary: the clip that came well most recently."""
    settled: frozenset[str] = frozenset()
    """Videos whose doubtful failures stand, for the canary came well after them: another one is no news."""
    refused: frozenset[str] = frozenset()
    """Videos at which the way was paused, since something last came well."""
    refusers: frozenset[str] = frozenset()
    """Likewise before something came well: they, and not the address, may be what is refused."""
    must_ask: bool = False
    """Whether the canary comes before every other video."""

    @property
    def suspects(self) -> frozenset[str]:
        """Videos whose latest failures may turn out to be the address's."""
        return frozenset(video for video, outcome, detail in self.recent if is_doubtful(outcome, detail)).difference(
            self.settled
        )

    @property
    def asks(self) -> Clip | None:
        """The canary, where it has to be asked now."""
        return self.sound if self.must_ask else None


def heard(doubt: Doubt, clip: Clip, outcome: Outcome | EgressSignal, detail: str) -> tuple[Doubt, Verdict]:
    """The state after a video's answer (`ok` where its bytes came), and what follows."""
    video = clip.video_id
    if is_signal(outcome):
        alone = doubt.sound is not None and (detail in IN_WORDS or video in doubt.refusers)
        if not alone:
            return replace(doubt, refused=doubt.refused | {video}, must_ask=doubt.sound is not None), "pause"
        recent = (*doubt.recent, (video, "no_format", detail))[-WINDOW:]
        return replace(doubt, recent=recent, settled=doubt.settled - {video}, must_ask=True), "charge"
    doubt = replace(doubt, recent=(*doubt.recent, (video, outcome, detail))[-WINDOW:])
    if outcome == "ok":
        return replace(_came_well(doubt), sound=clip), "stands"
    if doubt.sound is not None:
        return replace(doubt, must_ask=doubt.must_ask or len(doubt.suspects) >= SUSPECTS), "stands"
    if len(_in_a_row(doubt.recent) - doubt.settled) >= VIDEOS:
        return doubt, "burst"
    return doubt, "stands"


def nothing_left(doubt: Doubt) -> Doubt:
    """The state when no other video is left to ask: suspects that nobody has settled have the canary asked."""
    return replace(doubt, must_ask=True) if doubt.suspects and doubt.sound is not None else doubt


def canary_answered(doubt: Doubt, outcome: Outcome | EgressSignal, detail: str) -> tuple[Doubt, Verdict]:
    """The state after the canary was asked, and what follows."""
    if outcome == "ok":
        settled = doubt.settled | doubt.suspects
        return replace(_came_well(doubt), recent=(), settled=settled, must_ask=False), "stands"
    if is_signal(outcome) or is_doubtful(outcome, detail):
        return doubt, "burst"
    return replace(doubt, sound=None, must_ask=False), "stands"  # it is gone: it says nothing any more


def taken_back(doubt: Doubt) -> Doubt:
    """The state once the suspects' failures were taken back. Without a canary they count as settled from now on: else
    a run that has only such videos left would pause for ever."""
    settled = doubt.settled if doubt.sound is not None else doubt.settled | doubt.suspects
    return replace(doubt, recent=(), settled=settled, must_ask=doubt.sound is not None)


def _came_well(doubt: Doubt) -> Doubt:
    return replace(doubt, refused=frozenset(), refusers=doubt.refusers | doubt.refused)


def _in_a_row(answers: tuple[Answer, ...]) -> frozenset[str]:
    """The different videos of the doubtful failures at the end, with no other answer among them."""
    videos: set[str] = set()
    for video, outcome, detail in reversed(answers):
        if not is_doubtful(outcome, detail):
            break
        videos.add(video)
    return frozenset(videos)
