"""Archives over http(s) into a folder of the cache: resumed to the byte after any end, checked in their size.

A `.part` goes on where it ends (RFC 9110: Range with If-Range, so that two versions of a file are never glued
together); a finished archive is never asked for again. An address that answers 403 or 404 is given up and named once;
a server that cannot be reached is nobody's fault, and ends the run with work left.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
from urllib3.exceptions import HTTPError

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.sources.archives.copies import Address
from kinetics_pipeline.sources.http.addresses import public_addresses_only
from kinetics_pipeline.sources.http.partial_file import locked

AT_ONCE = 3
TRIES = 6
"""The most tries of one archive in which no byte comes."""
WAIT = 2.0
"""Seconds before the second try; each later one waits twice as long."""
CONNECT_SECONDS, READ_SECONDS = 20.0, 60.0
BLOCK = 1 << 20
UNREACHABLE = 3
"""Archives in a row whose server nobody reached: it is down."""

Say = Callable[[str], None]


class GivenUp(Exception):
    """An archive that its server does not have, or does not give. The message says why."""


class NobodyThere(Exception):
    """No connection, or none that lasted."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches archives into `folder`."""

    folder: Path
    typed: Sequence[str]
    """Addresses that the user typed: their hosts may be private ones, others may not."""
    private_allowed: bool
    say: Say
    _stop: threading.Event = field(default_factory=threading.Event)

    def fetch(self, addresses: Sequence[Address]) -> list[Path]:
        """The archives in the folder, those that were given up left out, in the order of the addresses.

        Raises UserError for a folder that cannot be written, WorkRemains when the server is down.
        """
        missed = _Missed()
        self._stop.clear()
        threads = ThreadPoolExecutor(AT_ONCE)
        try:
            paths = list(threads.map(lambda one: self._fetch(one, missed), addresses))
        finally:  # also when the user interrupts: the next run continues the partial file
            self._stop.set()
            threads.shutdown(cancel_futures=True)
        if missed.in_a_row >= min(UNREACHABLE, len(addresses)):
            host = urlsplit(addresses[0].url).hostname
            raise WorkRemains(f"{host} cannot be reached ({missed.reason}); the same command goes on")
        return [path for path in paths if path is not None]

    def size(self, address: Address) -> int | None:
        """Bytes of an archive as its server says; None where it does not, and 0 for one that is here."""
        if self.place(address).exists():
            return 0
        try:
            with (
                self._guarded(),
                requests.head(
                    address.url, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=True, headers=_PLAIN
                ) as answer,
            ):
                length = answer.headers.get("Content-Length", "")
                return int(length) if answer.status_code == 200 and length.isdecimal() else None
        except requests.RequestException:
            return None

    def place(self, address: Address) -> Path:
        """The path of an archive in the cache: those of one address' folder lie together, as the parts of one must."""
        above = address.url.rpartition("/")[0]
        return self.folder / hashlib.sha256(above.encode()).hexdigest()[:12] / address.name

    def _fetch(self, address: Address, missed: _Missed) -> Path | None:
        path = self.place(address)
        try:
            if path.exists():
                return path
            if missed.in_a_row >= UNREACHABLE:
                return None
            with locked(path.parent, path.name, patience=1.0):
                if not path.exists():
                    self._whole(address, path)
            missed.reached()
            return path
        except GivenUp as error:
            missed.reached()
            self.say(f"archive {address.name} is given up: {error}; its clips are left to the next source")
        except NobodyThere as error:
            missed.add(str(error))
        except TimeoutError:
            raise WorkRemains(f"archive {address.name} is being fetched by another run; wait for it") from None
        except OSError as error:
            raise UserError(f"archive {address.name} cannot be written below {self.folder}: {error.strerror}") from None
        return None

    def _whole(self, address: Address, path: Path) -> None:
        part, about = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
        tries = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                if self._on(address, part, about):
                    part.replace(path)
                    about.unlink(missing_ok=True)
                    return
                reason = "the connection broke off"
            except requests.Timeout:
                reason = f"no answer within {READ_SECONDS:.0f} s"
            except (requests.RequestException, HTTPError) as error:
                reason = f"no connection ({type(error).__name__})"
            if self._stop.is_set():
                raise NobodyThere("stopped")
            tries = 0 if part.exists() and part.stat().st_size > before else tries + 1
            if tries == TRIES:
                raise NobodyThere(reason)
            self._stop.wait(WAIT * 2 ** max(0, tries - 1))

    def _on(self, address: Address, part: Path, about: Path) -> bool:
        """Goes on with a `.part`; whether it is whole now. Raises GivenUp."""
        offset, version = (part.stat().st_size if part.exists() else 0), _read(about)
        headers = dict(_PLAIN)
        if offset and version:
            headers |= {"Range": f"bytes={offset}-", "If-Range": version}
        with self._guarded() as refused, _got(address.url, headers, refused) as answer:
            if answer.status_code == 416 and offset:  # it is whole, or another file now
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if total == str(offset):
                    return True
                part.unlink()
                return False
            if answer.status_code not in (200, 206):
                if answer.status_code >= 500 or answer.status_code in (408, 429):
                    return False
                raise GivenUp(f"the server answered {answer.status_code} {answer.reason}")
            if "text/html" in answer.headers.get("Content-Type", "").lower():
                raise GivenUp("the server sent a web page")
            begin, total_size = _begins(answer)
            if begin not in (0, offset):
                raise GivenUp(f"the server sent another piece than the one asked for (from byte {begin})")
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            with part.open("r+b" if part.exists() else "w+b", buffering=0) as file:
                file.seek(begin)
                file.truncate()
                if not begin:  # after the old bytes are gone: they never stand beside the new version's name
                    about.write_text(json.dumps(version))
                while block := answer.raw.read1(BLOCK):  # what has come, so that no byte of it is asked for again
                    file.write(block)
                    if self._stop.is_set():
                        return False
                written = file.tell()
        if total_size is not None and written > total_size:
            raise GivenUp(f"the server sent more than the {total_size} bytes that it said")
        return total_size is None or written == total_size

    @contextmanager
    def _guarded(self) -> Iterator[list[str]]:
        if self.private_allowed:
            yield []
            return
        with public_addresses_only(_endpoints([*self.typed, *getproxies().values()])) as refused:
            yield refused


_PLAIN = {"Accept-Encoding": "identity"}


class _Missed:
    """How many archives in a row nobody answered for."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.reason = ""
        self._lock = threading.Lock()

    def add(self, reason: str) -> None:
        with self._lock:
            self.in_a_row += 1
            self.reason = reason

    def reached(self) -> None:
        with self._lock:
            self.in_a_row = 0


@contextmanager
def _got(url: str, headers: dict[str, str], refused: list[str]) -> Iterator[requests.Response]:
    """The answer to a GET. A redirect to a private address gives the archive up."""
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            yield answer
    except requests.ConnectionError:
        if refused:
            raise GivenUp(f"{refused[0]} is a private address; see --allow-private-addresses") from None
        raise


def _begins(answer: requests.Response) -> tuple[int, int | None]:
    """The first byte that an answer holds, and the size of the whole file where it is known."""
    if answer.status_code == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if said is None:
            raise GivenUp("the server sent a piece without saying which")
        return int(said[1]), None if said[2] == "*" else int(said[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _read(about: Path) -> str:
    try:
        found = json.loads(about.read_bytes())
    except (OSError, ValueError):
        return ""
    # A weak validator does not go with If-Range (RFC 9110, 13.1.5): the file is fetched from its beginning.
    return found if isinstance(found, str) and not found.startswith("W/") else ""


def _endpoints(urls: Sequence[str]) -> frozenset[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for url in urls:
        with suppress(ValueError, OSError, UnicodeError):
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            addresses = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            found |= {(str(address[0]), port) for *_, address in addresses}
    return frozenset(found)
