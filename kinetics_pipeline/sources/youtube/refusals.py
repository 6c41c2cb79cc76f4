"""What an extraction that gave no video means: one outcome of the contract, or a state of the egress.

Statuses come before words: what the HTTP and playability statuses of the player's answers say is settled first
(`answers`), and the texts (`texts`) decide only what they leave open. The details are ours, not the server's: they hold
no account name, address or signed URL.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from kinetics_pipeline.records import Outcome, most_hopeful
from kinetics_pipeline.sources.base import Failure, is_signal
from kinetics_pipeline.sources.youtube.answers import WATCH_PAGE, PlayerAnswer
from kinetics_pipeline.sources.youtube.quoted_names import without_names
from kinetics_pipeline.sources.youtube.texts import (
    ANOTHER_VIDEO,
    LIVE,
    NO_FORMAT,
    NOT_YET,
    ONE_VIDEO,
    UNAVAILABLE,
    Rule,
)
from kinetics_pipeline.sources.youtube.youtube_texts import YOUTUBE_CLEAR, YOUTUBE_UNCLEAR
from kinetics_pipeline.sources.youtube.ytdlp_texts import YTDLP

BY_STATUS: dict[str, tuple[Outcome, str]] = {
    "AGE_": ("age_restricted", "age-restricted"),
    "CONTENT_CHECK_REQUIRED": ("age_restricted", "shown only after a warning about its content"),
    "LIVE_STREAM_OFFLINE": ("no_format", LIVE),
}
"""Playability statuses, by how they begin, that say what they mean (`AGE_CHECK_REQUIRED`, `AGE_VERIFICATION_REQUIRED`);
`ERROR`, `UNPLAYABLE` and `LOGIN_REQUIRED` leave it to the words."""
MAY_BE_GONE = frozenset({"ERROR", "UNPLAYABLE"})
"""Playability statuses under which words may say that a video is gone."""
BY_SIGN: dict[str, tuple[Outcome, str]] = {
    "paid": ("members_only", "requires payment"),
    "age": ("age_restricted", "age-restricted"),
}
DEFINITE = frozenset({"gone", "private", "age_restricted", "members_only", "geo_blocked"})
"""Outcomes that are read only from a status, a sign, or a text on a list: one client that says so is enough."""

_OF_YTDLP = re.compile(
    r"[.;:,]? *(?:please report this issue on|use --cookies-from-browser|confirm you are on the latest|"
    r"for more information, refer to|see +https?://github\.com/yt-dlp|youtube is requiring a captcha|"
    r"(?:your account|the current session) has been rate-limited).*",
    re.DOTALL,
)
"""What yt-dlp adds to YouTube's words."""
_LEADS = re.compile(
    r"\"?rental\"? videos|"
    r"unable to (?:download|connect|extract)|failed to (?:extract|parse|download|resolve)|http error|got error|"
    r"giving up|no video formats|requested format|only images|the downloaded file|fragment \d|did not get any|"
    r"content ?too ?short|downloaded \d|all player responses|<urlopen|https?connectionpool|\[?(?:errno|ssl)|\('|"
    r"(?:the read operation|read timed|connection |connect timeout|transport ?error|proxy ?error|some \S+ client )"
)
"""How yt-dlp's own messages begin, and those of the libraries it fetches with; YouTube's begin otherwise."""
_HIDES = re.compile(
    r"failed to extract any player response|unable to download (?:api|web ?page)|no video formats|requested format"
)
"""Messages that hide their reason: the HTTP status is only in a warning."""


def from_extraction(
    error: BaseException, warnings: Sequence[str], answers: Sequence[PlayerAnswer] = (), asked: str = ""
) -> Failure:
    """What it means that yt-dlp raised `error` for the video `asked`.

    `answers` are the player's answers that came meanwhile. Only where there are none, the texts of the exception
    (its chain included) decide, and after them, where they hide their reason, the warnings.
    """
    if answers:
        failure = from_answers(answers, asked, from_texts(_texts_of(error), warnings))
        return replace(failure, statuses="; ".join(map(str, answers)))
    return from_texts(_texts_of(error), warnings)


def from_answers(answers: Sequence[PlayerAnswer], asked: str, from_texts: Failure) -> Failure:
    """What the player's answers for the video `asked` mean together, none of which gave a format.

    A limit on the address comes first, then a definite reason (of several the most hopeful), then a bot check or a
    soft block, then what will pass by itself, then calls that failed. `from_texts`: what the texts of yt-dlp mean, for
    what the answers leave open.
    """
    calls = [one for one in answers if one.client != WATCH_PAGE]
    read = [from_answer(one) for one in answers if one.status]
    plays = any(one.status == "OK" for one in answers)
    definite = [one for one in read if one.outcome in DEFINITE and not (plays and one.outcome == "gone")]
    best = most_hopeful(cast(Outcome, one.outcome) for one in definite) if definite else None
    chosen = (
        _limited(answers, calls, asked)
        or next((one for one in definite if one.outcome == best), None)
        or _slowed_down(answers)
        or next((one for one in read if is_signal(one.outcome)), None)
        or next((one for one in read if one.detail in NOT_YET), None)
        or next((_failed(one) for one in [*calls, *answers] if not one.status and one.http != 200), None)
        or next((_failed(one) for one in calls if not one.status), None)
    )
    if chosen is not None:
        return replace(chosen, unreachable=all(one.http is None for one in answers))
    if plays:
        return (
            from_texts
            if from_texts.outcome in ("throttled", "network", "no_format")
            else Failure("no_format", NO_FORMAT)
        )
    vague = [one for one in read if one.outcome == "no_format"]
    known = [one for one in vague if one.detail not in (UNAVAILABLE, ONE_VIDEO)]
    return next(iter([*known, *vague, *read]), from_texts)


def _slowed_down(answers: Sequence[PlayerAnswer]) -> Failure | None:
    """What an HTTP status among the answers says of the address: too many requests."""
    for one in answers:
        if one.http == 429 or (one.http == 503 and one.wait is not None):
            return Failure("throttled", f"{_place(one)} answered {one.http}: asked to slow down", wait=one.wait)
    return None


def _limited(answers: Sequence[PlayerAnswer], calls: Sequence[PlayerAnswer], asked: str) -> Failure | None:
    """What is said of the address without words: too many requests, a captcha, answers for other videos."""
    if slowed_down := _slowed_down(calls):
        return slowed_down
    if any("captcha" in one.signs for one in answers):
        return Failure("throttled", "YouTube asks for a captcha")
    if any(one.video_id and asked and one.video_id != asked for one in calls):
        return Failure("throttled", ANOTHER_VIDEO)
    return None


def from_answer(answer: PlayerAnswer) -> Failure:
    """What one answer says of its video; `internal` where nobody knows its words."""
    for begin, (outcome, detail) in BY_STATUS.items():
        if not answer.status.startswith(begin):
            continue
        if outcome != "no_format":
            return Failure(outcome, detail)
        in_words = from_words(answer.words, answer.names)
        return in_words if in_words.detail in NOT_YET else Failure(outcome, detail)
    for sign in sorted(answer.signs & BY_SIGN.keys(), reverse=True):
        return Failure(*BY_SIGN[sign])
    if answer.status == "OK":
        return Failure("no_format", NO_FORMAT)
    found = from_words(answer.words, answer.names, answer.status)
    if found.outcome == "gone" and answer.status not in MAY_BE_GONE:
        return Failure("no_format", UNAVAILABLE)  # the status speaks against the words
    return found


def from_words(words: Sequence[str], names: Iterable[str] = (), status: str = "") -> Failure:
    """What YouTube's words mean. `names`: title, channel and owner of the video, which are no reason."""
    names = [name for name in map(_flat, names) if len(name) > 3]
    parts = [without_names(plain(text), names) for text in words]
    rule = _first((*YOUTUBE_CLEAR, *YOUTUBE_UNCLEAR), ". ".join(part.rstrip(". ") for part in parts if part))
    if rule is not None:
        return Failure(rule.outcome, rule.detail)
    text = redacted(words[0] if words else "")
    return Failure("internal", f"YouTube said ({status or 'no status'}): {text}".rstrip(": "))


def from_texts(texts: Sequence[str], warnings: Sequence[str] = ()) -> Failure:
    """What messages mean that came without a player's answer: yt-dlp's own, or YouTube's as yt-dlp hands them on."""
    own: list[str] = []
    theirs: list[str] = []
    for text in texts:
        message = plain(without_prefix(text))
        if _LEADS.match(message):
            own.append(message)
        else:
            own += _OF_YTDLP.findall(message)
            theirs.append(without_names(_OF_YTDLP.sub("", message), ()))
    hides = any(_HIDES.search(text) for text in own)
    rule = (
        _first(YTDLP, *own, only="throttled")
        or _first(YOUTUBE_CLEAR, *theirs)
        or (_first(YTDLP, *(plain(without_prefix(text)) for text in warnings)) if hides else None)
        or _first(YTDLP, *own, *theirs)
        or _first(YOUTUBE_UNCLEAR, *theirs)
    )
    if rule is not None:
        return Failure(rule.outcome, rule.detail)
    return Failure("internal", f"the extractor said: {redacted(without_prefix(texts[0]) if texts else '')}")


def _failed(answer: PlayerAnswer) -> Failure:
    """What a call means that brought no player's answer."""
    place = _place(answer)
    if answer.http is None:
        return Failure("network", f"{place}: {answer.trouble}")
    if answer.http == 200:
        return Failure("network", f"{place} answered what is not readable")
    if answer.http >= 500:
        return Failure("network", f"{place} answered {answer.http}, a server error")
    return Failure("network", f"{place} answered {answer.http}")


def _place(answer: PlayerAnswer) -> str:
    return "YouTube's watch page" if answer.client == WATCH_PAGE else "YouTube's player API"


def plain(text: str) -> str:
    """A text as the tables spell it: lower case, straight quotes, single spaces.

    >>> plain("This content isn\\u2019t available,\\u00a0Try again")
    "this content isn't available, try again"
    """
    return _flat(text)


def _flat(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = re.sub("[‘’ʼ´`]", "'", text)
    return " ".join(re.sub("[“”„]", '"', text).casefold().split())


def _first(rules: Sequence[Rule], *texts: str, only: str | None = None) -> Rule | None:
    """The first rule that any of the texts matches; `only`: of those with this outcome."""
    text = "\n".join(texts)
    return next((one for one in rules if only in (None, one.outcome) and one.matches(text)), None)


def redacted(text: str, limit: int = 160) -> str:
    """A text of unknown origin without URLs, addresses, mail addresses, handles, quoted names or long tokens, in one
    line of printable characters."""
    for pattern in (
        r"\x1b\[[0-9;]*m",
        r"[a-z][a-z0-9+.-]*://\S+",
        r"\S+@\S+|@[\w.-]+",
        r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?",
        r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])",
        r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|“[^”]*”",
        r"[A-Za-z0-9_=+/%-]{25,}",
        r"(?:/[\w.-]+){2,}",
    ):
        text = re.sub(pattern, "...", text, flags=re.IGNORECASE)
    text = "".join(one for one in " ".join(text.split()) if one.isprintable())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _texts_of(error: BaseException | None) -> list[str]:
    """The messages of an exception and of what led to it, yt-dlp's `exc_info` and `cause` included; each once."""
    texts: list[str] = []
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        texts.append(f"{current}" if str(current) else type(current).__name__)
        inner = getattr(current, "exc_info", None)
        waiting += [inner[1] if isinstance(inner, tuple) and len(inner) > 1 else None]
        waiting += [getattr(current, "cause", None), current.__cause__]
    return texts


def without_prefix(text: str) -> str:
    """The message without `ERROR: [youtube] ID: `: an id is arbitrary text, and may well read `HTTP429`."""
    return re.sub(
        r"^(?:\x1b\[[0-9;]*m)*(?:ERROR: |WARNING: )?(?:\x1b\[[0-9;]*m ?)*(?:ERROR: )?(?:\[[\w:+]+\] )?"
        r"(?:[A-Za-z0-9_-]{11}: )?(?:YouTube said: )?(?:ERROR - )?",
        "",
        text,
    )
