"""A real S3 API on loopback (moto's server), and a proxy before it that can be told to fail."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from moto.server import ThreadedMotoServer

Fault = Literal["500", "slow", "reset", "expired", "lost", "unconditional"]
"""`lost`: it is done, and nobody hears of it; `unconditional`: its conditions are ignored."""
EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)

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
        if self.kind is None or self.left <= 0 or not self.only(method, path):
            return None
        self.left -= 1
        self.failed += 1
        return self.kind


@contextmanager
def faulty_s3() -> Iterator[tuple[str, Faults]]:
    """The endpoint, as http://127.0.0.1:PORT, and what it shall do wrong."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    faults = Faults()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(port, faults))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}", faults
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.stop()


def _handler(port: int, faults: Faults) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            listing = self.command == "GET" and "list-type" in self.path
            faults.seen["LIST" if listing else self.command] += 1
            fault = faults.take(self.command, self.path)
            if fault == "reset":
                self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
                self.connection.close()
                self.close_connection = True
                return
            if self.headers.get("Expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self._body()
            if fault == "slow":
                time.sleep(1)
            if fault in ("500", "expired"):
                self._answer(500 if fault == "500" else 400, [], b"" if fault == "500" else EXPIRED)
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _OF_THE_HOP}
            conditions = {k for k in headers if k.lower() in ("if-match", "if-none-match")}
            if fault == "unconditional":
                headers = {k: v for k, v in headers.items() if k not in conditions}
            with faults.conditional if conditions else nullcontext():
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                said, data = answer.getheaders(), answer.read()
                upstream.close()
            if fault == "lost":
                self.connection.close()
                self.close_connection = True
                return
            self._answer(answer.status, said, data)

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

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
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
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

        def log_message(self, *_: object) -> None:
            pass

    return Handler
