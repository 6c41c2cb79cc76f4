"""An archive over http(s) into the cache: resumed to the byte after any end, checked in its size.

A `.part` goes on where it ends (RFC 9110: Range with If-Range, so that two versions of a file are never glued
together); a finished archive is never asked for again. An address that answers 403 or 404 is given up; a server that
cannot be reached says nothing of the archive.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
from urllib3.exceptions import HTTPError

from kinetics_pipeline.sources.archives.copies import Address
from kinetics_pipeline.sources.archives.places import authorization, bucket_and_key
from kinetics_pipeline.sources.http.addresses import public_addresses_only
from kinetics_pipeline.sources.objects.bucket import ObjectChanged, ObjectRefused, open_bucket
from kinetics_pipeline.sources.objects.videos import is_object_place

TRIES = 6
"""The most tries of one archive in which no byte comes."""
WAIT = 2.0
"""Seconds before the second try; each later one waits twice as long."""
CONNECT_SECONDS, READ_SECONDS = 20.0, 60.0
HEAD_REFUSED = (400, 401, 403, 405, 501)
"""What servers answer to HEAD that may give the file all the same, as addresses signed for GET alone do."""
BLOCK = 1 << 20


class GivenUp(Exception):
    """An archive that its server does not have, or does not give. The message says why."""


class NobodyThere(Exception):
    """No connection, or none that lasted."""

    answered = False
    """Whether there was a server, which began to send the archive and never came further."""


class BrokenOff(NobodyThere):
    """The server begins to send the archive, and never comes further than a certain byte."""

    answered = True


class _Unwell(Exception):
    """The server asks to come again later."""


@dataclass(frozen=True)
class Seen:
    """What a server says of an archive before it is fetched."""

    size: int | None
    """Bytes; None where it does not say."""
    version: str
    """Its ETag, or its date; empty where it says neither."""
    there: bool = True
    """Whether there is anything: not where it answers 403, 404 or 410, nor in an empty file."""


NOTHING_THERE = Seen(None, "", there=False)


@dataclass(frozen=True)
class Fetcher:
    """Fetches archives, one at a time a thread."""

    typed: Sequence[str]
    """Addresses that the user typed: their hosts may be private ones, others may not."""
    private_allowed: bool
    on_restart: Callable[[], None] = lambda: None
    """Called before bytes that an earlier call, or an earlier try, fetched are thrown away."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def fetch(self, address: Address, path: Path, most: int | None = None) -> Path:
        """The archive at `path`, whole; what an earlier call left beside it (`.part`) is gone on with. `most`: bytes
        that it may have.

        Raises GivenUp, NobodyThere, and OSError for a folder that cannot be written.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._whole(address, path, most)
        return path

    def stop(self) -> None:
        """Ends what is being fetched, soon, with NobodyThere."""
        self._stop.set()

    def look(self, address: Address) -> Seen:
        """What the server says of an archive. Raises NobodyThere."""
        if is_object_place(address.url):
            return _look_at_object(address.url)
        headers = {**_PLAIN, **authorization(address.url)}
        try:
            with self._guarded() as refused, _asked("HEAD", address.url, headers, refused) as answer:
                if answer.status_code not in HEAD_REFUSED:
                    return _seen(answer)
            first = {**headers, "Range": "bytes=0-0"}
            with self._guarded() as refused, _asked("GET", address.url, first, refused) as answer:
                return _seen(answer)
        except GivenUp:  # `fetch` says why
            return NOTHING_THERE
        except requests.RequestException as error:
            raise NobodyThere(f"no connection ({type(error).__name__})") from None

    def _whole(self, address: Address, path: Path, most: int | None) -> None:
        part, about = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
        go_on = self._on_object if is_object_place(address.url) else self._on
        tries = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            ending: type[NobodyThere] = NobodyThere
            try:
                if go_on(address, part, about, most):
                    part.replace(path)
                    about.unlink(missing_ok=True)
                    return
                ending, reason = BrokenOff, _broke_off(part)
            except requests.Timeout:
                reason = f"no answer within {READ_SECONDS:.0f} s"
            except requests.RequestException as error:
                reason = f"no connection ({type(error).__name__})"
            except HTTPError:
                ending, reason = BrokenOff, _broke_off(part)
            except _Unwell as error:
                reason = str(error)
            if self._stop.is_set():
                raise NobodyThere("stopped")
            tries = 0 if part.exists() and part.stat().st_size > before else tries + 1
            if tries == TRIES:
                raise ending(reason)
            self._stop.wait(WAIT * 2 ** max(0, tries - 1))

    def _on(self, address: Address, part: Path, about: Path, most: int | None) -> bool:
        """Goes on with a `.part`; whether it is whole now. Raises GivenUp."""
        offset, (version, total) = (part.stat().st_size if part.exists() else 0), _read(about)
        if total is not None and offset == total:  # killed before it got its name
            return True
        headers = {**_PLAIN, **authorization(address.url)}
        if offset and version:
            headers |= {"Range": f"bytes={offset}-", "If-Range": version}
        with self._guarded() as refused, _asked("GET", address.url, headers, refused) as answer:
            if answer.status_code == 416 and offset:  # it is whole, or another file now
                if answer.headers.get("Content-Range", "").rpartition("/")[2] == str(offset):
                    return True
                self.on_restart()
                part.unlink()
                return False
            if answer.status_code >= 500 or answer.status_code in (408, 429):
                raise _Unwell(f"the server answered {answer.status_code} {answer.reason}")
            begin, total_size = _sent(answer, offset, most)
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            if offset and not begin:
                self.on_restart()
            with part.open("r+b" if part.exists() else "w+b", buffering=0) as file:
                file.seek(begin)
                file.truncate()
                if not begin:  # after the old bytes are gone: they never stand beside the new version's name
                    about.write_text(json.dumps([version, total_size]))
                while block := answer.raw.read1(BLOCK):  # what has come, so that no byte of it is asked for again
                    file.write(block)
                    if most is not None and file.tell() > most:
                        raise GivenUp(f"it has more than the {most} bytes that were said at first")
                    if self._stop.is_set():
                        return False
                written = file.tell()
        if total_size is not None and written > total_size:
            raise GivenUp(f"the server sent more than the {total_size} bytes that it said")
        return total_size is None or written == total_size

    def _on_object(self, address: Address, part: Path, about: Path, most: int | None) -> bool:
        """The same for an object of a store. Raises GivenUp, NobodyThere."""
        uri, key = bucket_and_key(address.url)
        bucket = open_bucket(uri)
        try:
            size, found = bucket.look(key)
            if most == 0:
                raise GivenUp("nothing was there when the archives were listed; --retry not_found looks again")
            if most is not None and size > most:
                raise GivenUp(f"it has {size} bytes, more than the {most} that were said at first")
            version, _ = _read(about)
            with part.open("r+b" if part.exists() else "w+b", buffering=0) as file:
                begin = file.seek(0, 2) if version and version == found else 0
                file.seek(begin)
                file.truncate()
                if not begin:
                    about.write_text(json.dumps([found, size]))
                for block in bucket.read(key, begin, found):
                    file.write(block)
                    if self._stop.is_set():
                        return False
                return file.tell() == size
        except ObjectChanged:
            return False
        except ObjectRefused as error:
            raise _not_given(error) from None

    @contextmanager
    def _guarded(self) -> Iterator[list[str]]:
        if self.private_allowed:
            yield []
            return
        with public_addresses_only(_endpoints([*self.typed, *getproxies().values()])) as refused:
            yield refused


def _broke_off(part: Path) -> str:
    return f"the connection breaks off at byte {part.stat().st_size if part.exists() else 0:,}"


_PLAIN = {"Accept-Encoding": "identity"}


def _look_at_object(url: str) -> Seen:
    uri, key = bucket_and_key(url)
    try:
        size, version = open_bucket(uri).look(key)
        return Seen(size, version) if size else NOTHING_THERE
    except ObjectRefused as error:
        meant = _not_given(error)
        if isinstance(meant, GivenUp):  # `fetch` says why
            return NOTHING_THERE
        raise meant from None


def _seen(answer: requests.Response) -> Seen:
    if answer.status_code not in (200, 206):
        return NOTHING_THERE if answer.status_code in (401, 403, 404, 410) else Seen(None, "")
    if _is_page(answer):
        return NOTHING_THERE
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        length = answer.headers.get("Content-Range", "").rpartition("/")[2]
    size = int(length) if length.isdecimal() else None
    return (
        NOTHING_THERE
        if size == 0
        else Seen(size, answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
    )


def _not_given(error: ObjectRefused) -> GivenUp | NobodyThere:
    lasting = error.failure.outcome in ("not_found", "private", "decode")
    return GivenUp(error.failure.detail) if lasting else NobodyThere(error.failure.detail)


@contextmanager
def _asked(method: str, url: str, headers: dict[str, str], refused: list[str]) -> Iterator[requests.Response]:
    """The answer to a request. Redirects that end nowhere, or at a private address, give the archive up."""
    limits = (CONNECT_SECONDS, READ_SECONDS)
    try:
        answer = requests.request(method, url, headers=headers, stream=True, timeout=limits, allow_redirects=True)
    except (requests.TooManyRedirects, ValueError) as error:  # a ValueError: what an answer names is not an address
        raise GivenUp(f"the server's redirects end nowhere ({type(error).__name__})") from None
    except requests.ConnectionError:
        if refused:
            raise GivenUp(f"{refused[0]} is a private address; see --allow-private-addresses") from None
        raise
    with answer:
        yield answer


def _is_page(answer: requests.Response) -> bool:
    return "text/html" in answer.headers.get("Content-Type", "").lower()


def _sent(answer: requests.Response, offset: int, most: int | None) -> tuple[int, int | None]:
    """The first byte that an answer holds, and the size of the whole file where it is known. Raises GivenUp for an
    answer that is not the archive."""
    if answer.status_code not in (200, 206):
        raise GivenUp(f"the server answered {answer.status_code} {answer.reason}")
    if _is_page(answer):
        raise GivenUp("the server sent a web page")
    begin, total_size = _begins(answer)
    if begin not in (0, offset):
        raise GivenUp(f"the server sent another piece than the one asked for (from byte {begin})")
    if most == 0:
        raise GivenUp("nothing was there when the archives were listed; --retry not_found looks again")
    if most is not None and total_size is not None and total_size > most:
        raise GivenUp(f"it has {total_size} bytes, more than the {most} that were said at first")
    return begin, total_size


def _begins(answer: requests.Response) -> tuple[int, int | None]:
    """The first byte that an answer holds, and the size of the whole file where it is known."""
    if answer.status_code == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if said is None:
            raise GivenUp("the server sent a piece without saying which")
        return int(said[1]), None if said[2] == "*" else int(said[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _read(about: Path) -> tuple[str, int | None]:
    """What a `.part` is of, as If-Range needs it, and the size of the whole file; empty and None where not known."""
    try:
        version, total = json.loads(about.read_bytes())
    except (OSError, ValueError, TypeError):
        return "", None
    # A weak validator does not go with If-Range (RFC 9110, 13.1.5): the file is fetched from its beginning.
    if not isinstance(version, str) or not version or version.startswith("W/"):
        return "", None
    return version, total if isinstance(total, int) else None


def _endpoints(urls: Sequence[str]) -> frozenset[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for url in urls:
        with suppress(ValueError, OSError, UnicodeError):
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            addresses = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            found |= {(str(address[0]), port) for *_, address in addresses}
    return frozenset(found)
