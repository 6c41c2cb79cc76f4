"""Names within YouTube's words (claimant, channel, level, title): anybody's text, which is not read as a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kinetics_pipeline.sources.youtube.texts import A_DATE

_OF_RIGHTS = r"(?:claims?|claimed|infringements?|notices?|notifications?|takedowns?|strikes?|filed|submitted)"
_TO_BE_SEEN = r"(?= to (?:get|watch|see|view|unlock|access)|$)"
_NAMED = tuple(
    re.compile(pattern)
    for pattern in (
        r"()(?:\"[^\"]*\"|«[^»]*»|‹[^›]*›|「[^」]*」|『[^』]*』|《[^》]*》|【[^】]*】|(?<!\w)'[^']*'(?!\w))",
        r"((?:contains|includes|has) content (?:from|by|of|owned by) ).*?"
        r"(?=,? (?:who|one or more of whom|some of whom) (?:has|have) |[.,] (?:it|this video) (?:is|isn't|has|cannot) "
        r"|$)",
        rf"({_OF_RIGHTS}(?: \w+){{0,2}} (?:by|from|on behalf of) )(?!a third party(?:[.,]|$)).*",
        r"((?:complaints?|requests?) (?:by|from) )(?!(?:(?:a|the) government|a third party)(?:[.,]|$)).*",
        r"((?:claimants?|copyright (?:owner|holder)): ).*",
        r"(on level: ).*?(?= \(or any|$)",
        r"(members of )(?!(?:this|the) channel).*",
        rf"((?:^|(?<=[.!] ))join )(?!(?:this|the) channel).*?{_TO_BE_SEEN}",
        rf"(subscribe to )(?!(?:this|the) channel).*?{_TO_BE_SEEN}",
        r"((?:video|stream|event|premiere|movie|film|channel) by ).*?(?= (?:has|is|will|was|cannot|can't) |$)",
        rf"((?:premieres?|starts?|begins?|live) (?:\S+ ){{0,6}}?on )(?!youtube|{A_DATE}).*",
        r"(waiting for ).*?(?= to start|$)",
        r"((?:blocked|restricted) by )(?!your |safe|family link|an? |the ).*?"
        r"(?= in your country| on copyright grounds|$)",
        r"(removed by )(?!(?:the|its|your) |uploader|user|owner|author|creator).*",
    )
)
"""What stands where YouTube puts a name or quotes a title; the first group stays."""


def without_names(text: str, names: Iterable[str] = ()) -> str:
    """A text, made plain, with "…" for each of `names` and for whatever stands where a name does.

    >>> without_names("this video is no longer available due to a copyright claim by not a bot ltd")
    'this video is no longer available due to a copyright claim by …'
    """
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "…")
    for pattern in _NAMED:
        text = pattern.sub(r"\1…", text)
    return text
