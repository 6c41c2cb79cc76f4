"""What the fake serves, and the faults it serves it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WATCH_PAGE = "watch page"
"""Stands for the watch page among the clients of a `Video`."""


@dataclass
class Faults:
    """What goes wrong with one kind of request. `kind` is an HTTP status, or one of

    `stall` (no answer), `garbage` (not JSON), `html` (a page with status 200), `page` (likewise, but called a video),
    `empty`, `wrong_video`, `truncate` (half of the body, then FIN), `reset` (half, then RST), `stall_mid` (half, then
    silence), `norange` (Range is ignored), `slow` (`rate` bytes/s), `redirect` (to `location`), `no_length` (chunked),
    `endless` (an answer that does not end), `shifted` (a range that begins a byte later), `longer` (a range with more
    than it says), `other_total` (a range of a file that is a byte longer).
    """

    kind: str = "ok"
    times: int | None = None
    """Only the first so many requests are hit; None: all."""
    headers: dict[str, str] = field(default_factory=dict)
    rate: float = 100_000
    location: str = ""


@dataclass
class Rendition:
    """One format of a video."""

    path: Path
    itag: int
    width: int
    height: int
    fps: float = 25
    bitrate: int = 500_000
    vcodec: str | None = "avc1.4d401e"
    acodec: str | None = None
    """Set: a combined ("progressive") format."""
    container: str = "mp4"
    media: Faults | None = None
    """Instead of the video's."""
    query: dict[str, str] = field(default_factory=dict)
    """Added to its URL (`xtags`, ...)."""

    def to_json(self, url: str, duration: float) -> dict[str, Any]:
        codecs = ", ".join(filter(None, (self.vcodec, self.acodec)))
        side = min(self.width, self.height)
        document: dict[str, Any] = {
            "itag": self.itag,
            "url": url,
            "mimeType": f'{"video" if self.vcodec else "audio"}/{self.container}; codecs="{codecs}"',
            "bitrate": self.bitrate,
            "averageBitrate": self.bitrate,
            "contentLength": str(self.path.stat().st_size),
            "approxDurationMs": str(int(duration * 1000)),
            "quality": "medium",
        }
        if self.vcodec:
            document.update(width=self.width, height=self.height, fps=round(self.fps), qualityLabel=f"{side}p")
        return document


@dataclass
class Video:
    """A video of the fake: its formats, or why it has none."""

    renditions: list[Rendition] = field(default_factory=list)
    duration: float = 10.0
    playability: str | dict[str, Any] | None = None
    """A key of `PLAYABILITY`, or a whole playability status; None: it plays."""
    refusals: int | None = None
    """Only the first so many answers say so, and then it plays; None: all."""
    api: Faults = field(default_factory=Faults)
    media: Faults = field(default_factory=Faults)
    details: dict[str, Any] = field(default_factory=dict)
    """Added to the player's `videoDetails` (`isPrivate`, `isLive`, ...)."""
    microformat: dict[str, Any] = field(default_factory=dict)
    hls: bool = False
    """Offered as HLS fragments, and only so."""
    fragments: list[Path] = field(default_factory=list)
    """The files of its HLS fragments, in order."""
    manifest: Faults = field(default_factory=Faults)
    """What goes wrong with the HLS manifest, which names the list of the fragments."""
    playlist: Faults = field(default_factory=Faults)
    """What goes wrong with the list of the fragments."""
    listed: list[str] | None = None
    """The lines of that list; None: those that name every fragment."""
    fragment_faults: dict[int, Faults] = field(default_factory=dict)
    """Faults by the number of their fragment, from 0."""
    advertisement: float = 0.0
    """Seconds of advertising before it: until then its media URLs answer 403."""
    watch: Faults = field(default_factory=Faults)
    """What goes wrong with the watch page."""
    by_client: dict[str, Video] = field(default_factory=dict)
    """What single clients are shown instead, by `clientName`; `WATCH_PAGE` for the watch page."""
