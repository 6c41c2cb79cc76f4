"""Bytes of one URL into a `Piece`, going on from what is there, through yt-dlp's own opener.

The opener brings proxies, cookies, TLS options and real HTTP errors; what is added here is what yt-dlp's downloader
does not do: If-Range, so that two versions of a file are never glued together; bounded ranges; Retry-After; a limit
on size; and a look at the content type.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, RequestError, TransportError

from kinetics_pipeline.sources.base import Failure
from kinetics_pipeline.sources.http.addresses import PrivateAddress
from kinetics_pipeline.sources.http.byte_allowance import take
from kinetics_pipeline.sources.http.partial_file import Piece
from kinetics_pipeline.sources.http.status import from_status
from kinetics_pipeline.sources.http.ytdlp import BLOCK, Opener, retry_after


class Refused(Exception):
    """The server answered, and not with the bytes asked for."""

    def __init__(self, status: int, wait: float | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.wait = status, wait


class Broken(Exception):
    """The connection failed more often than allowed. The message is a normalised reason."""

    def __init__(self, trouble: str, *, unreachable: bool = False) -> None:
        super().__init__(trouble)
        self.unreachable = unreachable
        """Whether nobody answered at all."""


class NotMedia(Exception):
    """The server answered 200 with a web page, whatever it calls it."""


class TooLarge(Exception):
    """The file is larger than allowed."""


class RangesRefused(Exception):
    """The server sends whole files only."""


class Changed(Exception):
    """The remote file is another than the one whose first bytes are at hand."""


FAILURES = (Refused, NotMedia, TooLarge, Broken, PrivateAddress, RequestError)
"""What `fetch` raises that is a `failure`; RangesRefused and Changed say how to go on."""


def failure(error: Exception, whose: str) -> Failure:
    """What one of `FAILURES` means. `whose`: the server, as of `from_status`."""
    server = "the media server" if whose == "youtube" else "the server"
    if isinstance(error, Refused):
        return from_status(error.status, error.wait, whose)
    if isinstance(error, HTTPError):
        return from_status(error.status, retry_after(error.response.get_header("Retry-After")), whose)
    if isinstance(error, NotMedia):
        # Not `not_found`: a page for maintenance or a portal's login looks the same, and that is not final.
        return Failure("network", f"{server} sent a web page instead of a video")
    if isinstance(error, TooLarge):
        return Failure("no_format", str(error))
    no_answer = isinstance(error, RequestError) or (isinstance(error, Broken) and error.unreachable)
    reason = f"the request failed ({type(error).__name__})" if isinstance(error, RequestError) else str(error)
    return Failure("network", f"media: {reason}" if whose == "youtube" else reason, unreachable=no_answer)


class FragmentCheck:
    """Holds the fragments that yt-dlp fetches to what `fetch` holds a file to: a refusal is raised at once and not
    asked again, and a web page is not media. Server errors and broken connections are left to yt-dlp's retries."""

    def refused(self, error: HTTPError) -> None:
        """Raises Refused."""
        wait = retry_after(error.response.get_header("Retry-After"))
        if (error.status < 500 and error.status not in (408, 416)) or (error.status == 503 and wait is not None):
            raise Refused(error.status, wait) from error

    def came(self, response: Response) -> None:
        """Raises NotMedia, now or when the first bytes are read."""
        if _is_page(response):
            raise NotMedia
        read, is_first = response.read, True

        def checked(amount: int | None = None) -> bytes:
            nonlocal is_first
            block: bytes = read(amount)
            if is_first and block.lstrip()[:1] == b"<":
                raise NotMedia
            is_first = False
            return block

        response.read = checked


@dataclass(frozen=True)
class Remote:
    """Where the bytes come from, and the limits that hold there."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    window: int | None = None
    """Bytes asked for at once; None: one open-ended request. YouTube throttles open-ended ones (yt-dlp #17612)."""
    limit: int = 2 << 30
    """Bytes that the whole file may have."""
    retries: int = 3


def fetch(opener: Opener, remote: Remote, piece: Piece, until: int | None = None) -> Piece:
    """Brings `piece` to its end, or to at least `until` bytes, and returns what is now known of it.

    Raises Refused, Broken, NotMedia, TooLarge, RangesRefused (a section of a file that comes whole only) or Changed
    (likewise a section; a whole file is begun again). The bytes that came stay in `piece.part`.
    """
    failures = 0
    while not piece.is_whole and (until is None or piece.have < until):
        before, silent = piece.have, False
        try:
            piece = _one_request(opener, remote, piece, until)
            trouble = "the server sent nothing" if piece.have == before and not piece.is_whole else None
        except _Truncated:
            trouble = "the connection ended early"
        except _OtherFile:
            trouble, piece = "the file changed under the download", _anew(piece)
        except TransportError as error:
            silent, trouble = True, "timed out" if "timed out" in str(error).lower() else "the connection failed"
            opener.raise_if_forbidden()
        except HTTPError as error:
            with closing(error.response):
                trouble, piece = _after_status(error, piece)
        if trouble is not None:
            failures += 1
            if failures > remote.retries:
                raise Broken(trouble, unreachable=silent and piece.have == before)
            time.sleep(min(30.0, 0.25 * 2**failures))
    if piece.is_whole:
        piece.commit()
    return piece


class _Truncated(Exception):
    """Fewer bytes than announced, or more."""


class _OtherFile(Exception):
    """The answer is not of the file whose first bytes are at hand, or not of the range asked for."""


def _after_status(error: HTTPError, piece: Piece) -> tuple[str | None, Piece]:
    """What follows an answer that is not a success: the trouble to try again after, and the piece. Raises Refused."""
    wait = retry_after(error.response.get_header("Retry-After"))
    if error.status == 416:
        _, _, total = _content_range(error.response)
        if piece.stop is None and total is not None and total == piece.have + piece.shift:
            piece = replace(piece, total=total)
            piece.save()
            return None, piece
        return "the server refused the range", _anew(piece)
    if error.status >= 500 and not (error.status == 503 and wait is not None):
        return f"HTTP {error.status}", piece
    raise Refused(error.status, wait) from error


def _anew(piece: Piece) -> Piece:
    if piece.shift:
        raise Changed
    piece.discard()
    return replace(piece, total=None, validator=None)


def _one_request(opener: Opener, remote: Remote, piece: Piece, until: int | None) -> Piece:
    if piece.have and not piece.about.exists():
        piece.part.unlink()  # nothing says which file these bytes are of
    have = piece.have
    start = have + piece.shift
    stop = piece.stop
    if remote.window is not None:
        reach = start + remote.window if until is None else until + piece.shift
        stop = min(edge for edge in (reach, start + remote.window, piece.stop, piece.total) if edge is not None)
    headers = _headers(remote, start, stop, piece.validator if have else None)
    with closing(opener.urlopen(Request(remote.url, headers=headers))) as response:
        if _is_page(response):
            raise NotMedia
        if response.status == 206:
            first, last, total = _content_range(response)
            if first != start:
                raise _OtherFile
            expected = None if last is None else last + 1 - start
            if total is not None and piece.total is not None and total != piece.total:
                raise _OtherFile
        else:
            if piece.shift:
                raise RangesRefused
            total = expected = _length(response)
            piece.part.unlink(missing_ok=True)
            have = 0
        check_size(total, remote.limit)
        validator = _validator(response)
        if have and piece.validator and validator and validator != piece.validator:
            raise _OtherFile
        piece = replace(piece, total=total if total is not None else piece.total, validator=validator)
        piece.save()
        _copy(opener, response, piece, expected, remote.limit)
        if piece.total is None and response.status != 206:
            piece = replace(piece, total=piece.have)  # no length was announced; the end of the answer is the end
            piece.save()
    if piece.total == 0:
        piece.discard()  # else a later call would take it for finished
        raise Broken("the server sent an empty file")
    return piece


def _headers(remote: Remote, start: int, stop: int | None, validator: str | None) -> dict[str, str]:
    """The headers that ask for the bytes from `start` to before `stop`; `validator` says which file they must be of."""
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if start or stop is not None:
        headers["Range"] = f"bytes={start}-" + ("" if stop is None else str(stop - 1))
        if validator:
            headers["If-Range"] = validator
    return headers


def _copy(opener: Opener, response: Response, piece: Piece, expected: int | None, limit: int) -> None:
    left = None if piece.size is None else piece.size - piece.have
    room = min((edge for edge in (expected, left) if edge is not None), default=None)
    came = 0
    with piece.part.open("ab", buffering=0) as file:
        while block := response.read(BLOCK):
            came += len(block)
            opener.bytes_fetched += len(block)
            if room is not None and came > room:
                raise _Truncated  # more than announced: not the range that was asked for
            if file.tell() == 0 and block.lstrip()[:1] == b"<":
                piece.discard()
                raise NotMedia  # no video begins so, but a page does, of a portal or a proxy
            take(len(block))
            file.write(block)
            check_size(file.tell(), limit)
    if expected is not None and came < expected:
        raise _Truncated


def _is_page(response: Response) -> bool:
    kind = (response.get_header("Content-Type") or "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")


def check_size(size: int | None, limit: int) -> None:
    """Raises TooLarge."""
    if size is not None and size > limit:
        raise TooLarge(f"the file is larger than {limit} bytes")


def _content_range(response: Response) -> tuple[int | None, int | None, int | None]:
    """First byte, last byte and total of `Content-Range: bytes 0-9/10` (RFC 9110, 14.4); None where it says `*`."""
    match = re.fullmatch(
        r"\s*bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*", response.get_header("Content-Range") or "", re.ASCII
    )
    if match is None:
        return None, None, None
    first, last, total = (int(number) if number and number != "*" else None for number in match.groups())
    return first, last, total


def _length(response: Response) -> int | None:
    text = response.get_header("Content-Length") or ""
    encoded = (response.get_header("Content-Encoding") or "identity").lower() != "identity"
    return None if encoded or not re.fullmatch(r"\d+", text, re.ASCII) else int(text)


def _validator(response: Response) -> str | None:
    tag = response.get_header("ETag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    modified = response.get_header("Last-Modified")
    return None if modified is None else str(modified)
