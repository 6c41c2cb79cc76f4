"""A public copy on this machine: files over http with ranges, If-Range and ETag, and connections that break off."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class PublicCopy(ThreadingHTTPServer):
    """`files`: bytes, or a status, by path. `breaks`: after how many bytes of a path's next answers it breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes | int] = {}
        self.breaks: dict[str, list[int]] = {}
        self.down = False
        """Whether connections are closed without an answer."""
        self.gets: list[tuple[str, int]] = []
        """Path and first byte of each GET."""
        self.base = f"http://127.0.0.1:{self.server_port}"

    def asked(self, path: str) -> list[int]:
        return [begin for name, begin in self.gets if name == path]


def packed(members: dict[str, bytes], *, zipped: bool = True) -> bytes:
    """A tar with these files, in gzip where it is `zipped`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), 1) if zipped else stream.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip with these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


@contextmanager
def served() -> Iterator[PublicCopy]:
    with PublicCopy() as copy:
        threading.Thread(target=copy.serve_forever, daemon=True).start()
        yield copy
        copy.shutdown()


class _Answer(BaseHTTPRequestHandler):
    server: PublicCopy

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.server.down:
            self.close_connection = True
            return
        path = unquote(self.path)
        data = self.server.files.get(path, 404)
        if isinstance(data, int):
            if body:
                self.server.gets.append((path, 0))
            self.send_error(data)
            return
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(ranged[1]) if ranged is not None and self.headers.get("If-Range", etag) == etag else 0
        if body:
            self.server.gets.append((path, begin))
        if begin >= len(data) and begin:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if body:
            breaks = self.server.breaks.get(path)
            self.wfile.write(data[begin : begin + breaks.pop(0)] if breaks else data[begin:])
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass
