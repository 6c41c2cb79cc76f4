"""A public copy on loopback: archives over http with ranges and ETags, through one link of a given speed, and a record
of every byte that was asked for."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

BLOCK = 1 << 16


class LoopbackArchives(ThreadingHTTPServer):
    """`files`: bytes by path. `rate`: bytes a second of all answers together; None for no limit."""

    daemon_threads = True

    def __init__(self, rate: float | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.rate = rate
        self.asked: list[tuple[str, int, float]] = []
        """Path, first byte and time (monotonic) of each GET."""
        self.base = f"http://127.0.0.1:{self.server_port}"
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pass_through(self, count: int) -> None:
        """Waits until so many bytes have gone over the link."""
        if self.rate is None:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self.rate
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    def archives(self) -> dict[str, bytes]:
        return {path: data for path, data in self.files.items() if not path.endswith(".txt")}


@contextmanager
def served(rate: float | None = None) -> Iterator[LoopbackArchives]:
    with LoopbackArchives(rate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def packed(members: Mapping[str, bytes]) -> bytes:
    """A tar in gzip with these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), 1)


class _Answer(BaseHTTPRequestHandler):
    server: LoopbackArchives

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path)
        data = self.server.files.get(path)
        if data is None:
            self.send_error(404)
            return
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(ranged[1]) if ranged is not None and self.headers.get("If-Range", etag) == etag else 0
        if body:
            self.server.asked.append((path, begin, time.monotonic()))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if body:
            for at in range(begin, len(data), BLOCK):
                block = data[at : at + BLOCK]
                self.server.pass_through(len(block))
                self.wfile.write(block)
        self.close_connection = True

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked was killed
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass
