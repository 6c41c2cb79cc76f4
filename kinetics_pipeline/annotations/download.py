"""One annotation file from an http(s) address: bounded in size and time, and kept away from the user's own network.

The address that the user typed may be private; a redirect may not lead to another private one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.http.addresses import public_addresses_only

MAX_BYTES = 1 << 30
CONNECT_SECONDS, READ_SECONDS, DOWNLOAD_SECONDS = 10.0, 30.0, 900.0
BLOCK = 1 << 16


@dataclass
class Received:
    """What this process has downloaded: how fast the network is."""

    bytes: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float | None:
        """Bytes a second; None where too little has come to tell."""
        return self.bytes / self.seconds if self.bytes >= MEASURABLE and self.seconds else None


MEASURABLE = 4 << 20
"""Bytes that must have come before their speed says how fast the network is: fewer are mostly waiting."""
received = Received()


class Unreachable(UserError):
    """The server cannot be reached, or did not send the whole file."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    """200: the file was written; 304: it is still the one with the `etag` given; else there is none."""
    reason: str
    etag: str
    encoded: bool
    """Whether the transfer had an encoding, which is undone."""


def download(url: str, into: IO[bytes], *, etag: str = "") -> Answer:
    """Writes the file at `url` to the end of `into`. `etag`: that of a local copy; the server sends another one only.

    Raises UserError, whose message has neither the query nor the account of the URL, which may be secrets.
    """
    shown = shown_url(url)
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    headers = {"Accept-Encoding": "identity"} | ({"If-None-Match": etag} if etag else {})
    refused: list[str] = []
    try:
        with (
            public_addresses_only(_endpoints([url, *getproxies().values()])) as refused,
            requests.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), headers=headers) as response,
        ):
            if response.status_code == 200:
                _copy(response, into, shown, deadline)
            encoded = response.headers.get("Content-Encoding", "identity") != "identity"
            return Answer(response.status_code, response.reason, response.headers.get("ETag", ""), encoded)
    except requests.Timeout:
        raise Unreachable(f"annotations {shown}: no answer within {READ_SECONDS:.0f} s") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        if refused:
            raise UserError(f"annotations {shown}: redirected to the private address {refused[0]}") from None
        raise Unreachable(f"annotations {shown}: no connection, or it broke off") from None
    except (requests.RequestException, UnicodeError) as error:
        raise UserError(f"annotations {shown}: cannot be fetched ({type(error).__name__})") from None


def shown_url(url: str) -> str:
    """The URL without its query and account."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a malformed URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _copy(response: requests.Response, into: IO[bytes], shown: str, deadline: float) -> None:
    began = time.monotonic()
    for piece in response.iter_content(BLOCK):
        into.write(piece)
        now = time.monotonic()
        received.bytes, received.seconds, began = received.bytes + len(piece), received.seconds + now - began, now
        if into.tell() > MAX_BYTES:
            raise UserError(f"annotations {shown}: more than {MAX_BYTES >> 20} MiB; is this the right file?")
        if time.monotonic() > deadline:
            raise UserError(f"annotations {shown}: not finished after {DOWNLOAD_SECONDS:.0f} s")


def _endpoints(urls: Iterable[str]) -> frozenset[tuple[str, int]]:
    """Addresses and ports of the hosts that the user named."""
    found: set[tuple[str, int]] = set()
    for url in urls:
        with suppress(ValueError, OSError, UnicodeError):  # what cannot be found fails when it is asked
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            addresses = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            found |= {(str(address[0]), port) for *_, address in addresses}
    return frozenset(found)
