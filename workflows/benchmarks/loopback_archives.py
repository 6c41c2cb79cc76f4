"""A public copy on loopback: archives over http with ranges, If-Range and ETags, through one link of a given speed,
with connections that break off, and a record of every byte that was asked for."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

BLOCK = 1 << 16


class LoopbackArchives(ThreadingHTTPServer):
    """`files`: bytes, or a status, by path. `rate`: bytes a second of all answers together; None for no limit.
    `breaks`: after how many bytes of a path's next answers it breaks off."""

    daemon_threads = True

    def __init__(self, rate: float | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answer)
        self.files: dict[str, bytes | int] = {}
        self.breaks: dict[str, list[int]] = {}
        self.redirects: dict[str, str] = {}
        """Address that a path is redirected to."""
        self.longer: set[str] = set()
        """Paths whose answers say a size that never comes, and know no ranges."""
        self.down = False
        """Whether connections are closed without an answer."""
        self.only_get = False
        """Whether HEAD is refused (403), as with addresses that are signed for GET alone."""
        self.rate = rate
        self.gets: list[tuple[str, int]] = []
        """Path and first byte of each GET."""
        self.first: dict[str, float] = {}
        """When each path was asked for first (monotonic)."""
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

    def asked(self, path: str) -> list[int]:
        """The first bytes of the GETs of one path."""
        return [begin for name, begin in self.gets if name == path]

    def forget(self) -> None:
        """Starts the record again."""
        self.gets, self.first = [], {}

    def archives(self) -> dict[str, bytes]:
        return {
            path: data
            for path, data in self.files.items()
            if isinstance(data, bytes) and not path.endswith((".txt", ".csv"))
        }


@contextmanager
def served(rate: float | None = None) -> Iterator[LoopbackArchives]:
    with LoopbackArchives(rate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def packed(members: Mapping[str, bytes], *, zipped: bool = True) -> bytes:
    """A tar with these files, in gzip where it is `zipped`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), 1) if zipped else stream.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip with these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


class _Answer(BaseHTTPRequestHandler):
    server: LoopbackArchives

    def do_HEAD(self) -> None:
        if self.server.only_get:
            self.send_error(403)
            return
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.server.down:
            self.close_connection = True
            return
        path = unquote(self.path)
        if (elsewhere := self.server.redirects.get(path)) is not None:
            self.send_response(302)
            self.send_header("Location", elsewhere)
            self.end_headers()
            return
        data = self.server.files.get(path, 404)
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"' if isinstance(data, bytes) else ""
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        ranged = None if path in self.server.longer else ranged
        begin = int(ranged[1]) if etag and ranged and self.headers.get("If-Range", etag) == etag else 0
        if body:
            self.server.gets.append((path, begin))
            self.server.first.setdefault(path, time.monotonic())
        if isinstance(data, int):
            self.send_error(data)
            return
        if begin and begin >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - begin + 1000 * (path in self.server.longer)))
        self.end_headers()
        if body:
            breaks = self.server.breaks.get(path)
            end = begin + breaks.pop(0) if breaks else len(data)
            for at in range(begin, min(end, len(data)), BLOCK):
                block = data[at : min(at + BLOCK, end)]
                self.server.pass_through(len(block))
                self.wfile.write(block)
            self.close_connection = True

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked was killed
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass
