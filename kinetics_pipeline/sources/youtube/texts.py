"""What a rule about a text is, and the details that records carry. The rules are ordered tables of data: YouTube's
words in `youtube_texts` and `gone_texts`, yt-dlp's own in `ytdlp_texts`.

The first rule that matches counts. A pattern is a regular expression over a text made plain by `refusals.plain`
(lower case, straight quotes, names taken out), and it matches whole words only. `gone` is a positive list of whole
sentences (`gone_texts`): a text that is on no list, or has a sentence of the list only as a part of another, is never
final. A new report becomes a row; `kinetics-pipeline tools refusals FILE` says how a text is read today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kinetics_pipeline.records import Outcome
from kinetics_pipeline.sources.base import EgressSignal


@dataclass(frozen=True)
class Rule:
    """A text, and what it means."""

    outcome: Outcome | EgressSignal
    detail: str
    """What a record says; it holds nothing of the text itself, which may name a person."""
    report: str
    """Where the text was seen: a public issue (`repository number`), or the source that contains it."""
    pattern: re.Pattern[str]
    is_sentence: bool = False
    """Whether the pattern has to be a whole sentence of the text, which must not be `HEDGED`."""

    def matches(self, text: str) -> bool:
        """Whether a text, made plain, is one of this rule's."""
        if not self.is_sentence:
            return self.pattern.search(text) is not None
        return HEDGED.search(text) is None and any(map(self.pattern.fullmatch, SENTENCE_END.split(text)))


SENTENCE_END = re.compile(r"[.!?;]+(?:\s+|$)|\n")
HEDGED = re.compile(
    r"(?<!\w)(?:try again|retry|reload|refresh|temporar(?:y|ily)|right now|at the moment|at this time|currently|"
    r"for now|under review|pending|while|until)(?!\w)"
)
"""Words after which nothing is final, whatever else a text says."""


def rule(outcome: Outcome | EgressSignal, detail: str, report: str, *texts: str) -> Rule:
    """A rule for any of `texts`, regular expressions that match whole words."""
    return Rule(outcome, detail, report, re.compile(rf"(?<!\w)(?:{'|'.join(texts)})(?!\w)"))


def sentence_rule(outcome: Outcome | EgressSignal, detail: str, report: str, *texts: str) -> Rule:
    """A rule for any of `texts`, regular expressions that match a whole sentence. A sentence that speaks to the viewer
    (`your account`, `your network`) is not about the video and matches none; one may begin with the title, quoted."""
    pattern = rf"(?!.*(?<!\w)(?:you|your|you're|you've)(?!\w))(?:… )?(?:{'|'.join(texts)})"
    return Rule(outcome, detail, report, re.compile(pattern), is_sentence=True)


A_DATE = r"(?:\d+|\w+day|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*)"
"""How a date begins."""

LIMITED = "YouTube limits this address"
SOFT_BLOCK = "YouTube says that this content is not available, as it does to an address or account that it limits"
UNAVAILABLE = "unavailable, and YouTube gives no reason"
ONE_VIDEO = "YouTube could not play this video now"
LIVE = "a live stream that has not ended"
PREMIERE = "the premiere is still to come"
PROCESSING = "YouTube is still processing the video"
NO_RECORDING = "the recording of the live stream is not available"
LATER = "the video becomes available later"
DRM = "protected by DRM"
NETWORK_RULES = "an administrator, a DNS filter or Restricted Mode of this network hides the video"
COUNTRY = "not available in this country"
NO_FORMAT = "no video format"
THIS_MACHINE = "the file could not be written on this machine"
CUT = "media: the file came empty or cut"
NOT_WHOLE = "media: the list of the fragments is not whole"
ANOTHER_VIDEO = "YouTube answers for another video; this address is blocked"

NOT_YET = frozenset({PREMIERE, LIVE, NO_RECORDING, PROCESSING, LATER})
"""Details of a `no_format` that will pass by itself."""
IN_WORDS = frozenset({LIMITED, SOFT_BLOCK})
"""Details of refusals that were read from words alone: a single video may say so too, for reasons of its own."""
EXPLAINED = NOT_YET | {NETWORK_RULES, DRM}
"""Details of failures that YouTube gives a reason for: neither a broken extractor nor a blocked address would."""
FINDINGS = {
    NETWORK_RULES: (
        "this network restricts YouTube (an administrator, a DNS filter such as a safe search, or Restricted Mode; "
        "https://www.youtube.com/check_content_restrictions shows which). Lift it or use another network",
        "no_format",
    ),
    COUNTRY: (
        "YouTube does not offer them in the country of this network; a --proxy elsewhere may be allowed to see them",
        "geo_blocked",
    ),
}
"""What a detail says of the user's network, with what to do, and the outcome to try again then."""

EARLIER_GONE = frozenset({"unavailable", "removed on a copyright claim"})
"""Details of `gone` that earlier versions gave to texts which are no longer on the list, among others that still
are."""
