"""When failures are not the videos' but the address's, the extractor's or the server's. Pure: state in, state out.

A blocked address and a broken extractor answer with failures that single videos have too; a server in trouble answers
with errors of its own; one that is down with connections that fail. Written down as outcomes of the videos, one bad
night would cost thousands of clips. So doubtful failures of different videos are only suspects. Before they are
charged, a video that came well lately (the canary) is asked again through the same way out: if it comes well, the
failures stand; if it fails too, the way rests and none of the suspects is charged. Where nothing came well yet, many
suspects in a row count as a failed canary. These rules hold for every network source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kinetics_pipeline.records import Clip, Outcome
from kinetics_pipeline.sources.base import EgressSignal, Failure, is_signal
from kinetics_pipeline.sources.youtube.texts import EXPLAINED, IN_WORDS

VIDEOS = 10
"""Different videos in a row whose doubtful failures pause a way through which nothing succeeded yet."""
SUSPECTS = 5
"""Different videos whose doubtful failures have the canary asked."""
WINDOW = 20
"""Answers after which a suspect has the canary asked, however few there are: a shard is not held up for longer."""
OUTAGE_VIDEOS = 3
"""Different videos in a row for which nobody answered: fewer, because that says nothing at all of a video. Two are
enough where no other video waits."""
UNREACHABLE = frozenset({"the connection to YouTube failed", "YouTube did not answer in time"})
"""Details of YouTube's failures that mean that nobody answered."""

Answer = tuple[str, Outcome | EgressSignal, str]
"""Video, outcome, detail."""
Verdict = Literal["stands", "charge", "pause", "burst"]
"""What follows from an answer. `stands`: nothing more. `charge`: a refusal in words that this one video alone gave, as
far as is known: it counts as its failure. `pause`: the refusal is the address's. `burst`: so are the suspects'
failures, which are taken back."""


def is_unreachable(failure: Failure | None) -> bool:
    """Whether a failure means that nobody answered."""
    return failure is not None and (failure.unreachable or failure.detail in UNREACHABLE)


def is_doubtful(outcome: Outcome | EgressSignal, detail: str) -> bool:
    """Whether a broken extractor, a blocked address or a server in trouble would produce this failure too."""
    return outcome in ("no_format", "internal", "network") and detail not in EXPLAINED


@dataclass(frozen=True)
class Doubt:
    """What is remembered of the answers that came through one way out."""

    recent: tuple[Answer, ...] = ()
    """The latest answers, oldest first, as far back as there is a suspect among them."""
    sound: Clip | None = None
    """The canary: the clip that was fetched most recently."""
    settled: frozenset[str] = frozenset()
    """Videos whose doubtful failures stand, because the canary succeeded after them: one more changes nothing."""
    refused: frozenset[str] = frozenset()
    """Videos at which the way was paused, since something last succeeded."""
    refusers: frozenset[str] = frozenset()
    """Videos at which the way was paused before something succeeded: the refusal may be theirs, not the address's."""
    must_ask: bool = False
    """Whether the canary comes before every other video."""

    @property
    def suspects(self) -> frozenset[str]:
        """Videos whose latest failures may turn out to be the address's."""
        doubtful = frozenset(video for video, outcome, detail in self.recent if is_doubtful(outcome, detail))
        return doubtful - self.settled

    @property
    def canary_due(self) -> Clip | None:
        """The canary, where it has to be asked now."""
        return self.sound if self.must_ask else None


def heard(doubt: Doubt, clip: Clip, outcome: Outcome | EgressSignal, detail: str) -> tuple[Doubt, Verdict]:
    """The state after a video's answer (`ok` where its bytes came), and what follows."""
    video = clip.video_id
    if is_signal(outcome):
        alone = doubt.sound is not None and (detail in IN_WORDS or video in doubt.refusers)
        if not alone:
            return replace(doubt, refused=doubt.refused | {video}, must_ask=doubt.sound is not None), "pause"
        recent = (*doubt.recent, (video, "no_format", detail))
        return replace(doubt, recent=recent, settled=doubt.settled - {video}, must_ask=True), "charge"
    doubt = replace(doubt, recent=(*doubt.recent, (video, outcome, detail)))
    suspects = doubt.suspects
    while len(doubt.recent) > WINDOW and doubt.recent[0][0] not in suspects:
        doubt = replace(doubt, recent=doubt.recent[1:])
    if outcome == "ok":
        doubt = replace(_came_well(doubt), sound=clip)
    if doubt.sound is not None:
        late = len(doubt.recent) >= WINDOW and doubt.recent[0][0] in suspects
        return replace(doubt, must_ask=doubt.must_ask or late or len(suspects) >= SUSPECTS), "stands"
    doubt = replace(doubt, recent=doubt.recent[-4 * VIDEOS :])
    return doubt, "burst" if len(_in_a_row(doubt.recent) - doubt.settled) >= VIDEOS else "stands"


def nothing_left(doubt: Doubt) -> Doubt:
    """The state when no other video is left to ask: suspects that nobody has settled have the canary asked."""
    return replace(doubt, must_ask=True) if doubt.suspects and doubt.sound is not None else doubt


def unsettled(doubt: Doubt, video: str) -> Doubt:
    """The state where nobody answered for a video: its earlier failures, which stand, say nothing of this one. Without
    a canary nothing changes: nobody could settle it again."""
    return replace(doubt, settled=doubt.settled - {video}) if doubt.sound is not None else doubt


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
