"""What both servers are made of (a log, faults), and the plain file server."""

from __future__ import annotations

import http.server
import json
import re
import socket
import socketserver
import struct
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from tests.fake_youtube.videos import Faults


@dataclass
class Request:
    """One line of a server's log."""

    time: float
    host: str
    method: str
    path: str
    range: str | None
    status: int | str = 0
    sent: int = 0
    """Bytes of the body that were written."""
    video_id: str | None = None
    client: str = ""
    """The client that a player's request is asked as; empty for other requests."""

    @property
    def kind(self) -> str:
        """`player`, `media` or `other`."""
        if "/youtubei/v1/player" in self.path:
            return "player"
        return "media" if "/videoplayback" in self.path or (self.method == "GET" and self.host == "plain") else "other"


class _Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Server:
    """A server thread on a free loopback port, with a log."""

    handler: type[Handler]

    def __init__(self, port: int = 0) -> None:
        self.log: list[Request] = []
        self.stopping = threading.Event()
        self._hits: Counter[object] = Counter()
        self._lock = threading.Lock()
        self.on_request: Callable[[Request], None] | None = None
        """Called with each request before it is answered."""
        handler = type("Handler", (self.handler,), {"owner": self})
        self._http = _Threads(("127.0.0.1", port), handler)
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Any:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def reset(self) -> None:
        """Forgets the log, and how often each fault was served."""
        with self._lock:
            self.log.clear()
            self._hits.clear()

    def note(self, request: Request) -> Request:
        with self._lock:
            self.log.append(request)
        if self.on_request is not None:
            self.on_request(request)
        return request

    def hits(self, faults: Faults, key: object) -> bool:
        """Whether a fault applies to this request, which is counted."""
        with self._lock:
            self._hits[key] += 1
            return faults.kind != "ok" and (faults.times is None or self._hits[key] <= faults.times)

    def media(self) -> list[Request]:
        """The requests for media."""
        return [request for request in self.log if request.kind == "media"]

    def log_json(self) -> str:
        with self._lock:
            return json.dumps([asdict(request) for request in self.log])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer's head and body go out at once: some 40 ms less for each
    owner: Any
    tunnel: str | None = None
    """The host behind the CONNECT tunnel that this connection became."""

    def log_message(self, *_: object) -> None:
        """The log is a list."""

    def entry(self, video_id: str | None = None) -> Request:
        noted = Request(
            time.time(), self.tunnel or "plain", self.command, self.path, self.headers.get("Range"), video_id=video_id
        )
        return cast(Request, self.owner.note(noted))

    def answer(self, entry: Request, status: int, body: bytes = b"", kind: str = "text/plain", **headers: str) -> None:
        entry.status, entry.sent = status, len(body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fails(self, entry: Request, faults: Faults) -> bool:
        """Whether a fault that needs no body was served."""
        if faults.kind.isdigit():
            self.answer(entry, int(faults.kind), b"fault", **faults.headers)
        elif faults.kind == "redirect":
            self.answer(entry, 302, b"", Location=faults.location)
        elif faults.kind == "stall":
            entry.status = "stall"
            self.owner.stopping.wait(60)
            self.close_connection = True
        elif faults.kind in ("garbage", "html"):
            self.answer(entry, 200, b"<html>" + b"x" * 4000, "text/html; charset=utf-8")
        elif faults.kind == "endless":
            self.send_response(200)
            self.end_headers()
            entry.status, self.close_connection = 200, True
            while not self.owner.stopping.is_set():
                self.wfile.write(b"[" * 65536)
                entry.sent += 65536
        elif faults.kind == "page":
            self.answer(entry, 200, b"\n<!DOCTYPE html>" + b"x" * 4000, "video/mp4")
        elif faults.kind == "empty":
            self.answer(entry, 200, b"", "video/mp4")
        else:
            return False
        return True

    def send_file(self, entry: Request, path: Path, faults: Faults) -> None:
        """Answers with a file or the range asked for; `faults` decides how far that goes."""
        if self.fails(entry, faults):
            return
        content = path.read_bytes()
        total = len(content)
        first, stop, status = 0, total, 200
        tag = f'"{total:x}-{path.stat().st_mtime_ns:x}"'
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        fresh = self.headers.get("If-Range") in (None, tag)
        if asked and fresh and faults.kind != "norange":
            first, status = int(asked[1]), 206
            stop = min(int(asked[2]) + 1, total) if asked[2] else total
            if first >= total:
                return self.answer(entry, 416, Content_Range=f"bytes */{total}")
            first += faults.kind == "shifted"
            total += faults.kind == "other_total"
        body = content[first:stop] + bytes(1000 if status == 206 and faults.kind == "longer" else 0)
        entry.status = status
        self.send_response(status)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("ETag", tag)
        if faults.kind == "no_length":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{stop - 1}/{total}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        if faults.kind == "no_length":
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            entry.sent = len(body)
            return None
        self._send_body(entry, body, faults)
        return None

    def _send_body(self, entry: Request, body: bytes, faults: Faults) -> None:
        # A small buffer, so that `sent` is close to what the client took.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        cut = faults.kind in ("truncate", "reset", "stall_mid")
        block = 16384 if faults.kind == "slow" else 65536
        for at in range(0, len(body) // 2 if cut else len(body), block):
            piece = body[at : min(at + block, len(body) // 2 if cut else len(body))]
            self.wfile.write(piece)
            entry.sent += len(piece)
            if faults.kind == "slow":
                self.owner.stopping.wait(len(piece) / faults.rate)
        if not cut:
            return
        self.close_connection = True
        if faults.kind == "stall_mid":
            self.owner.stopping.wait(60)
        elif faults.kind == "reset":
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


class _FileHandler(Handler):
    def do_GET(self) -> None:
        name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/")
        entry = self.entry(Path(name).stem)
        faults: Faults = self.owner.faults.get(name, self.owner.default)
        if not self.owner.hits(faults, name):
            faults = Faults()
        path = self.owner.folder / name
        if faults.kind in ("ok", "norange", "slow", "truncate", "reset", "stall_mid", "no_length") and (
            ".." in name or not path.is_file()
        ):
            return self.answer(entry, 404, b"not found")
        self.send_file(entry, path, faults)
        return None

    do_HEAD = do_GET


class FileServer(Server):
    """A folder over HTTP, with ranges, ETags, a request log, and faults by file name (or for all: `default`)."""

    handler = _FileHandler

    def __init__(self, folder: Path, faults: dict[str, Faults] | None = None, default: Faults | None = None) -> None:
        self.folder, self.faults, self.default = folder, faults or {}, default or Faults()
        super().__init__()

    @property
    def template(self) -> str:
        return self.url + "/{video_id}.mp4"
