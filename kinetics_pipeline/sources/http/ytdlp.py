"""yt-dlp as this pipeline uses it: its opener and extractors, quiet, counted, without a file of its own."""

from __future__ import annotations

import email.utils
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from yt_dlp import YoutubeDL
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, RequestError, TransportError

from kinetics_pipeline.sources.http.addresses import PrivateAddress
from kinetics_pipeline.sources.options import SourceOptions

FORMAT = "bv[protocol=https]/b[protocol=https]/bv/b"
"""Video alone before video with sound, one file over HTTPS before fragments."""


BLOCK = 1 << 16
"""Bytes read at once: what a kill can lose."""


MOST_READ = 64 << 20
"""Bytes of an answer that is read in one go, into memory: pages, scripts, playlists. The largest are some 3 MB."""


class _Captured:
    """yt-dlp's logger protocol. Warnings are kept: the HTTP status of a refused player request is only there."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Progress and the like; nobody reads it."""

    def warning(self, message: str, **_: object) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None:
        """The same text comes as an exception."""


class Listener(Protocol):
    """What wants to know the answers to some of an opener's requests."""

    def wants(self, url: str) -> bool: ...

    def answered(self, url: str, sent: bytes | None, final_url: str, status: int, body: bytes) -> None: ...

    def failed(self, url: str, sent: bytes | None, status: int | None, trouble: str, wait: float | None) -> None: ...


class MediaCheck(Protocol):
    """What the answers of a download of yt-dlp's own are held to; what it raises ends the download."""

    def refused(self, error: HTTPError) -> None: ...

    def came(self, response: Response) -> None: ...


@dataclass(frozen=True)
class LastFailure:
    """How the latest request failed that did."""

    status: int | None
    """The HTTP status; None where no answer came."""
    trouble: str
    wait: float | None = None
    """Seconds of the Retry-After header."""


class Opener(YoutubeDL):  # type: ignore[misc]  # yt-dlp is not annotated
    """A YoutubeDL that counts its requests, and tells a listener what was answered. One for each thread, closed after
    use (`with`)."""

    def __init__(self, options: SourceOptions) -> None:
        self._captured = _Captured()
        self.refused_addresses: list[str] = []
        self._on_progress: Callable[[dict[str, Any]], None] = _ignore
        self._listener: Listener | None = None
        self._check: MediaCheck | None = None
        self.begin()
        defaults: dict[str, Any] = {
            "quiet": True,
            "noprogress": True,
            "logger": self._captured,
            "ignoreerrors": False,
            "noplaylist": True,
            "cachedir": False,
            "socket_timeout": options.timeout,
            "retries": 3,
            "extractor_retries": 1,
            "fragment_retries": 3,
            "skip_unavailable_fragments": False,  # a video without its middle is not the video
            "retry_sleep_functions": {"extractor": lambda n: min(60, 2 * 2**n)},  # yt-dlp gives it by this name
            "sleep_interval_requests": 0.75,
            "format": FORMAT,
            # `res` is the short side; `+res:N` the smallest that is at least N, else the largest below. H.264 in MP4
            # before the others: it decodes fastest and carries an index.
            "format_sort": [f"+res:{options.short_side}", "vcodec:h264", "ext:mp4:m4a", "+fps", "+size"],
            "fixup": "never",
            "updatetime": False,
            "color": "never",
            # What yt-dlp downloads itself, it downloads itself (not ffmpeg), and reports after every block.
            "hls_prefer_native": True,
            "noresizebuffer": True,
            "buffersize": BLOCK,
            "progress_hooks": [lambda state: self._on_progress(state)],
        }
        if options.proxy is not None:
            defaults["proxy"] = options.proxy
        if options.cookies is not None:
            defaults["cookiefile"] = io.StringIO(options.cookies)  # a private copy: yt-dlp writes its cookies back
        super().__init__({**defaults, **options.ytdlp_options})

    def begin(self) -> None:
        """Starts the counts of one download."""
        self.requests = 0
        self.bytes_fetched = 0
        self.last_failure: LastFailure | None = None
        self._captured.warnings.clear()
        self.refused_addresses.clear()

    @property
    def warnings(self) -> list[str]:
        return self._captured.warnings

    def urlopen(self, req: Request | str) -> Response:
        self.requests += 1
        url, sent = (req, None) if isinstance(req, str) else (req.url, req.data)
        listener = self._listener if self._listener is not None and self._listener.wants(url) else None
        try:
            response = super().urlopen(req)
            response.read = partial(_read, response.read)
            if listener is not None:
                body = response.read()
                response.read = io.BytesIO(body).read
                listener.answered(url, sent, response.url, response.status, body)
        except RequestError as error:
            self.last_failure = failed = _how(error)
            if listener is not None:
                listener.failed(url, sent, failed.status, failed.trouble, failed.wait)
            if self._check is not None and isinstance(error, HTTPError):
                self._check.refused(error)
            raise
        if self._check is not None:
            self._check.came(response)
        return response

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Inside, `listener` is told the answers to the requests that it wants."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    @contextmanager
    def downloading(self, on_progress: Callable[[dict[str, Any]], None], check: MediaCheck) -> Iterator[None]:
        """Inside, a download of yt-dlp's own calls `on_progress` with its state, several times a second, and `check`
        with each answer."""
        self._on_progress, self._check, self.last_failure = on_progress, check, None
        try:
            yield
        finally:
            self._on_progress, self._check = _ignore, None

    def raise_if_forbidden(self) -> None:
        """Raises PrivateAddress when the last connection failed because its address was refused."""
        if self.refused_addresses:
            raise PrivateAddress("the server leads to a private address; see --allow-private-addresses")


def retry_after(text: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3: seconds or a date); None without one."""
    if not text:
        return None
    if re.fullmatch(r"\s*\d+\s*", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _how(error: RequestError) -> LastFailure:
    if isinstance(error, HTTPError):
        return LastFailure(error.status, "", retry_after(error.response.get_header("Retry-After")))
    slow = "timed out" in str(error).lower()
    return LastFailure(None, "no answer came in time" if slow else "the connection failed")


def _read(read: Callable[[int], bytes], amount: int | None = None) -> bytes:
    """`Response.read`, bounded where it has no bound."""
    if amount is not None:
        return read(amount)
    content = bytearray()
    while block := read(BLOCK):
        content += block
        if len(content) > MOST_READ:
            raise TransportError(f"the answer is larger than {MOST_READ} bytes")
    return bytes(content)


def _ignore(_: dict[str, Any]) -> None:
    """Does nothing: nobody wants to know the progress."""


_of_thread = threading.local()


def shared_opener(options: SourceOptions) -> Opener:
    """This thread's opener: it keeps connections, the guest session and the player's decoded scripts from one video
    to the next, which spares YouTube and us most of the requests. Its counts begin again.
    """
    key, opener = getattr(_of_thread, "opener", (None, None))
    if opener is None or key != options:
        if opener is not None:
            opener.close()
        opener = Opener(options)
        _of_thread.opener = (options, opener)
    opener.begin()
    return opener
