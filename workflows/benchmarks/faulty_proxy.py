"""A proxy on loopback before a server of HTTP or of the S3 protocol, which can be told to fail in every usual way."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, Literal

Fault = Literal["500", "503", "slow", "reset", "expired", "lost", "truncated", "unconditional"]
"""`lost`: it is done, and nobody hears of it; `truncated`: half of the answer comes; `unconditional`: its conditions
are ignored."""
OUTAGES: tuple[Fault, ...] = ("500", "503", "slow", "reset", "lost", "truncated")
"""Those that go by."""
EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
_ANSWERS: dict[Fault, tuple[int, bytes]] = {"500": (500, b""), "503": (503, SLOW_DOWN), "expired": (400, EXPIRED)}
_OF_THE_HOP = ("connection", "content-length", "expect", "transfer-encoding")


@dataclass
class Faults:
    """What the proxy does to the next requests."""

    kind: Fault | None = None
    left: int = 0
    """Requests still to be failed."""
    only: Callable[[str, str], bool] = field(default=lambda method, path: True)
    """Whether to fail a request, by its method and path."""
    failed: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """Requests so far, by method; a listing is a LIST."""
    conditional: threading.Lock = field(default_factory=threading.Lock)
    """moto checks a condition and writes in two steps; one at a time, they are one step, as in a real store."""

    def plan(self, kind: Fault, times: int, only: Callable[[str, str], bool] = lambda method, path: True) -> None:
        self.kind, self.left, self.only, self.failed = kind, times, only, 0

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request gets; None for an honest answer."""
        if self.kind is None or self.left <= 0 or not self.only(method, path):
            return None
        self.left -= 1
        self.failed += 1
        return self.kind


@dataclass
class RandomFaults(Faults):
    """Fails a share of the requests, each in one of the ways that go by; what is planned comes first."""

    share: float = 0.0
    random: Random = field(default_factory=Random)
    ways: Sequence[Fault] = OUTAGES
    longest_run: int = 3
    """Requests failed one after the other, at most: fewer than any client tries again."""
    _run: int = 0

    def take(self, method: str, path: str) -> Fault | None:
        planned = super().take(method, path)
        if planned is not None or not self.share or self._run >= self.longest_run or self.random.random() >= self.share:
            self._run = 0
            return planned
        self._run += 1
        self.failed += 1
        return self.random.choice(self.ways)


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port, self.faults = port, faults

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextmanager
def faulty_proxy(port: int, faults: Faults) -> Iterator[str]:
    """The proxy's address, as http://127.0.0.1:PORT, before a server of this machine at `port`."""
    proxy = _Proxy(port, faults)
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        faults = self.server.faults
        listing = self.command == "GET" and "list-type" in self.path
        faults.seen["LIST" if listing else self.command] += 1
        fault = faults.take(self.command, self.path)
        if fault == "reset":
            self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
            self._hang_up()
            return
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self._body()
        if fault == "slow":
            time.sleep(1)
        if fault in _ANSWERS:
            status, text = _ANSWERS[fault]
            self._answer(status, [], text)
            return
        status, said, data = self._asked(body, conditional=fault != "unconditional")
        if fault == "lost":
            self._hang_up()
            return
        self._answer(status, said, data, sent=len(data) // 2 if fault == "truncated" else None)

    def _asked(self, body: bytes, *, conditional: bool) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers: status, headers, body."""
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OF_THE_HOP}
        conditions = {k for k in headers if k.lower() in ("if-match", "if-none-match")}
        if not conditional:
            headers = {k: v for k, v in headers.items() if k not in conditions}
        with self.server.faults.conditional if conditions else nullcontext():
            upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            said, data = answer.getheaders(), answer.read()
            upstream.close()
        return answer.status, said, data

    def _hang_up(self) -> None:
        self.connection.close()
        self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, sent: int | None = None) -> None:
        """`sent`: the bytes of the body after which the connection ends."""
        self.send_response(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
            if sent is not None and sent < len(body):
                self.wfile.flush()
                self._hang_up()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, *_: object) -> None:
        """The server counts."""
