"""What the extractor and the servers say -> one outcome of the contract, or a state of the egress. Data, in order.

The first rule that matches counts, and the order matters: "Video unavailable" also begins the texts of rate limits,
captchas and blocks by country. The details are ours, not the server's: no account name, address or signed URL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from kinetics_pipeline.records import Outcome
from kinetics_pipeline.sources.base import EgressSignal, Failure


@dataclass(frozen=True)
class Rule:
    """A text (case ignored) that an extraction ends with, and what it means."""

    text: str
    outcome: Outcome | EgressSignal
    detail: str


EXTRACTION: tuple[Rule, ...] = (
    # 1. The address is asked to slow down; says nothing of the clip.
    Rule(r"try again later|rate-limited|HTTP Error 429", "throttled", "YouTube limits this address"),
    Rule(r"IP is likely being blocked", "throttled", "YouTube answers for another video; this address is blocked"),
    Rule(r"captcha", "throttled", "YouTube asks for a captcha"),
    # 2. The address is taken for a bot.
    Rule(r"not a bot", "bot_check", "YouTube asks to confirm that this is no bot"),
    # 3. Needs an account.
    Rule(r"confirm your age|age.restricted|inappropriate for some users", "age_restricted", "age-restricted"),
    Rule(r"private video|video is private", "private", "private video"),
    Rule(r"join this channel|members.only|members on level", "members_only", "for members of the channel"),
    Rule(r"requires payment|video is paid|rental|purchase", "members_only", "requires payment"),
    # 4. Not from here.
    Rule(r"in your country|your (?:region|location)|geo.?restrict", "geo_blocked", "not available in this country"),
    # 5. Not now.
    Rule(r"premieres? in|premiere will begin", "no_format", "the premiere is still to come"),
    Rule(r"live event will begin|is (?:currently )?live|is offline", "no_format", "a live stream that has not ended"),
    Rule(r"live stream recording is not available", "no_format", "the recording of the live stream is not available"),
    Rule(r"processing this video|still being processed", "no_format", "YouTube is still processing the video"),
    Rule(r"DRM protected", "no_format", "protected by DRM"),
    Rule(r"HTTP Error 403", "network", "YouTube's player API answered 403"),
    Rule(r"HTTP Error 404", "network", "YouTube's player API answered 404"),
    Rule(r"HTTP Error 5\d\d", "network", "YouTube's player API answered with a server error"),
    Rule(r"timed out|timeout", "network", "YouTube did not answer in time"),
    Rule(
        r"unable to connect|connection (?:was )?(?:reset|refused|aborted|broken)|remote end closed|"
        r"name resolution|failed to resolve|getaddrinfo|network is unreachable|no route to host|"
        r"ProxyError|unable to connect to proxy|SSL|incomplete ?read|bytes read",
        "network",
        "the connection to YouTube failed",
    ),
    Rule(r"failed to parse JSON|unable to download (?:API|web ?page)", "network", "YouTube's answer was not readable"),
    Rule(r"failed to extract any player response", "network", "YouTube's player API gave no answer"),
    Rule(
        r"no video formats|requested format is not available|only images are available|"
        r"no formats|content is not available on this app|video is not available on this app",
        "no_format",
        "no video format",
    ),
    # 6. Gone for good.
    Rule(r"removed by the uploader", "gone", "removed by the uploader"),
    Rule(r"account.{0,60}terminated", "gone", "the account was terminated"),
    Rule(r"closed their YouTube account", "gone", "the account was closed"),
    Rule(r"copyright", "gone", "removed on a copyright claim"),
    Rule(r"community guidelines|terms of service|violat", "gone", "removed by YouTube's rules"),
    Rule(r"not available any ?more|isn.t available any ?more|no longer available|has been removed|does not exist|"
         r"video (?:is )?unavailable|video (?:is not|isn.t) available|is unavailable", "gone", "unavailable"),
)  # fmt: skip
"""Every text is yt-dlp's, which asks YouTube for English."""

NOT_YET = frozenset(
    {
        "the premiere is still to come",
        "a live stream that has not ended",
        "the recording of the live stream is not available",
        "YouTube is still processing the video",
    }
)
"""Details of a `no_format` that YouTube itself gives a reason for: no broken extractor would."""

GENERIC = re.compile(r"failed to extract any player response|unable to download (?:API|web ?page)", re.IGNORECASE)
"""Texts that hide their reason: the HTTP status is only in a warning."""


def from_extraction(error: BaseException, warnings: Sequence[str]) -> Failure:
    """Reads what yt-dlp raised (its chain of exceptions included) and, where that says nothing, what it warned of."""
    said = "\n".join(_without_prefix(text) for text in _chain(error))
    if GENERIC.search(said):
        said = "\n".join([*map(_without_prefix, warnings), said])
    for rule in EXTRACTION:
        if re.search(rule.text, said, re.IGNORECASE):
            return Failure(rule.outcome, rule.detail)
    return Failure("internal", f"the extractor said: {redacted(said.splitlines()[0] if said else '')}")


def from_status(status: int, wait: float | None, whose: str) -> Failure:
    """What an HTTP status means when a file was asked for.

    `whose`: "youtube" for a signed media URL, which refuses for reasons of its own (extract again); anything else is
    a server that has the file or not. There 401 and 403 are `private`: credentials might change it, asking again does
    not (object stores also answer 403 for a key that is not there). 451 is a legal block where we are (RFC 7725).
    """
    said = f"HTTP {status} {_phrase(status)}".strip()
    if status == 429 or (status == 503 and wait is not None):
        return Failure("throttled", f"{said}: asked to slow down", wait=wait)
    if whose == "youtube":
        return Failure("network", MEDIA_REFUSED if status == 403 else f"the media server answered {said}")
    if status in (404, 410):
        return Failure("not_found", said)
    if status in (401, 403):
        return Failure("private", said)
    if status == 451:
        return Failure("geo_blocked", said)
    return Failure("network", said)


MEDIA_REFUSED = "the media server answered HTTP 403 Forbidden"
"""A signed URL is refused: only another extraction helps. Many of them at once: this address, or the extractor."""


def redacted(text: str, limit: int = 160) -> str:
    """A text of unknown origin without URLs, addresses, mail addresses, handles, quoted names or long tokens."""
    for pattern in (
        r"[a-z][a-z0-9+.-]*://\S+",
        r"\S+@\S+|@[\w.-]+",
        r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?",
        r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])",
        r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|“[^”]*”",
        r"[A-Za-z0-9_=+/%-]{25,}",
        r"(?:/[\w.-]+){2,}",
    ):
        text = re.sub(pattern, "...", text, flags=re.IGNORECASE)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _chain(error: BaseException | None) -> list[str]:
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


def _without_prefix(text: str) -> str:
    """Without `ERROR: [youtube] ID: `: an id is arbitrary text, and may well read `HTTP429`."""
    return re.sub(r"^(?:ERROR: |WARNING: )?(?:\[[\w:+]+\] )?(?:[A-Za-z0-9_-]{11}: )?", "", text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
