"""What YouTube answered to each call for a video's player, read where the answers come in (`PlayerAnswers` watches
yt-dlp's opener): the HTTP status, the playability status, and the signs and words that go with it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

WATCH_PAGE = "watch page"
_INITIAL = re.compile(r"ytInitialPlayerResponse\s*=\s*(?=\{)")
SIGNS = {
    "playerCaptchaViewModel": "captcha",
    "playerLegacyDesktopYpcTrailerRenderer": "paid",
    "playerLegacyDesktopYpcOfferRenderer": "paid",
    "desktopLegacyAgeGateReason": "age",
}
"""Parts of a playability status that mean something whatever the words: the player shows another screen for them."""


@dataclass(frozen=True)
class PlayerAnswer:
    """One answer, or the want of one."""

    client: str
    """The client that yt-dlp asked as (`VISIONOS`, `WEB`, ...), or `WATCH_PAGE`."""
    http: int | None = None
    """None where no HTTP answer came."""
    trouble: str = ""
    """Why there is nothing to read: no answer came, or none that is a player's."""
    status: str = ""
    """The playability status: `OK`, `ERROR`, `UNPLAYABLE`, `LOGIN_REQUIRED`, ..."""
    words: tuple[str, ...] = ()
    """The reasons shown to a viewer, the main one first."""
    names: tuple[str, ...] = ()
    """Title, channel and owner, which the reasons may quote."""
    signs: frozenset[str] = frozenset()
    """Values of `SIGNS`."""
    video_id: str = ""
    """The video that the answer is of; empty where it does not say."""
    has_media: bool = False
    wait: float | None = None
    """Seconds that the server asked to be left alone (Retry-After)."""

    def __str__(self) -> str:
        return f"{self.client} {self.http or self.trouble}{f' {self.status}' if self.status else ''}"


class PlayerAnswers:
    """Collects the answers of one extraction. yt-dlp's opener calls `answered` or `failed` for each of its requests."""

    def __init__(self) -> None:
        self.all: list[PlayerAnswer] = []

    def wants(self, url: str) -> bool:
        """Whether the body of this URL's answer must be read: it is a player's answer or a watch page."""
        return self._place(url) is not None

    def answered(self, url: str, sent: bytes | None, final_url: str, status: int, body: bytes) -> None:
        """A request of a wanted URL that had an answer. `sent`: the request's body; `final_url`: after redirects."""
        if self._place(url) == WATCH_PAGE:
            self.all.append(_of_watch_page(final_url, status, body))
            return
        client = _client_of(sent)
        try:
            document = json.loads(body)
        except ValueError:
            self.all.append(PlayerAnswer(client, status, "not readable"))
            return
        self.all.append(of_document(document, client, status))

    def failed(self, url: str, sent: bytes | None, status: int | None, trouble: str, wait: float | None = None) -> None:
        """A request of a wanted URL that was refused with an HTTP status, or had no answer."""
        place = self._place(url)
        self.all.append(
            PlayerAnswer(_client_of(sent) if place != WATCH_PAGE else WATCH_PAGE, status, trouble, wait=wait)
        )

    @staticmethod
    def _place(url: str) -> str | None:
        path = urlsplit(url).path
        if path == "/watch":
            return WATCH_PAGE
        return "player" if path.endswith("/youtubei/v1/player") else None


def of_document(document: Any, client: str, http: int) -> PlayerAnswer:
    """The answer that a player's JSON says, whatever shape it has."""
    playability = _at(document, "playabilityStatus")
    if not isinstance(playability, dict):
        return PlayerAnswer(client, http, "not readable")
    screen = playability.get("errorScreen")
    signs = {sign for key, sign in SIGNS.items() if key in playability or (isinstance(screen, dict) and key in screen)}
    streaming = _at(document, "streamingData")
    return PlayerAnswer(
        client,
        http,
        status=str(playability.get("status") or ""),
        words=tuple(_words(playability)),
        names=tuple(_names(document)),
        signs=frozenset(signs),
        video_id=str(_at(document, "videoDetails", "videoId") or ""),
        has_media=isinstance(streaming, dict)
        and any(streaming.get(key) for key in ("formats", "adaptiveFormats", "hlsManifestUrl", "dashManifestUrl")),
    )


def _of_watch_page(final_url: str, status: int, body: bytes) -> PlayerAnswer:
    host, path = urlsplit(final_url).hostname or "", urlsplit(final_url).path
    if host.endswith("google.com") and path.startswith("/sorry"):
        return PlayerAnswer(WATCH_PAGE, status, "a captcha page", signs=frozenset({"captcha"}))
    page = body.decode("utf-8", "replace")
    found = _INITIAL.search(page)
    if found is None:
        return PlayerAnswer(WATCH_PAGE, status, "without a player's answer")
    try:
        document, _ = json.JSONDecoder().raw_decode(page, found.end())
    except ValueError:
        return PlayerAnswer(WATCH_PAGE, status, "not readable")
    return of_document(document, WATCH_PAGE, status)


def _client_of(sent: bytes | None) -> str:
    with contextlib.suppress(ValueError, TypeError):
        name = _at(json.loads(sent or b""), "context", "client", "clientName")
        return re.sub(r"[^A-Za-z0-9_]", "", str(name or ""))[:40] or "player"
    return "player"


def _words(playability: dict[str, Any]) -> Iterator[str]:
    """The reasons of a playability status; each once, in the order of a viewer's screen."""
    found: list[str] = [_text(playability.get("reason"))]
    screen = playability.get("errorScreen")
    for renderer in screen.values() if isinstance(screen, dict) else ():
        found += [_text(_at(renderer, key)) for key in ("reason", "subreason")]
        view = _at(renderer, "content", "interstitialViewModel")
        found += [_text(_at(view, key)) for key in ("title", "description")]
    messages = playability.get("messages")
    found += [_text(message) for message in messages] if isinstance(messages, list) else []
    yield from dict.fromkeys(text for text in found if text)


def _names(document: Any) -> Iterable[str]:
    details, micro = _at(document, "videoDetails"), _at(document, "microformat", "playerMicroformatRenderer")
    for holder, keys in ((details, ("title", "author")), (micro, ("title", "ownerChannelName"))):
        for key in keys:
            if name := _text(_at(holder, key)):
                yield name


def _text(node: Any) -> str:
    """A text of YouTube's: a plain string, `simpleText`, `content`, or `runs`."""
    if isinstance(node, str):
        return node
    if not isinstance(node, dict):
        return ""
    for key in ("simpleText", "content"):
        if isinstance(node.get(key), str):
            return str(node[key])
    runs = node.get("runs")
    return "".join(_text(_at(run, "text")) for run in runs) if isinstance(runs, list) else ""


def _at(node: Any, *keys: str) -> Any:
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node
