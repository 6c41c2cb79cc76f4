"""A small web server on loopback for the demo's videos, with byte ranges, which logs every request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kinetics_pipeline.records import VIDEO_ID

_FILE = re.compile(rf"/({VIDEO_ID.pattern})\.mp4")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class VideoServer(ThreadingHTTPServer):
    """Serves {folder}/{video_id}.mp4 at /{video_id}.mp4; `log` gets one line for each request, as `200 motion-0001`."""

    daemon_threads = True

    def __init__(self, folder: Path, log: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self._log = log
        self._requests: list[tuple[int, str]] = []
        self._lock = threading.Lock()

    @property
    def template(self) -> str:
        """The URL template for `build --source`."""
        return f"http://127.0.0.1:{self.server_address[1]}/{{video_id}}.mp4"

    def requests(self) -> list[tuple[int, str]]:
        """HTTP status and video id of every request so far, in order."""
        with self._lock:
            return list(self._requests)

    def note(self, status: int, video_id: str) -> None:
        with self._lock:
            self._requests.append((status, video_id))
            with self._log.open("a") as out:
                out.write(f"{status} {video_id}\n")


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[VideoServer]:
    """A server on a free port, until the block is left."""
    with VideoServer(folder, log) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: VideoServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing: the server has a log of its own."""

    def _answer(self, *, with_body: bool) -> None:
        matched = _FILE.fullmatch(self.path)
        video_id = matched[1] if matched else ""
        try:
            data = (self.server.folder / f"{video_id}.mp4").read_bytes() if matched else None
        except FileNotFoundError:
            data = None
        if data is None:
            self.server.note(HTTPStatus.NOT_FOUND, video_id)
            self._head(HTTPStatus.NOT_FOUND, 0)
            return
        first, last = 0, len(data) - 1
        status = HTTPStatus.OK
        asked = self.headers.get("Range")
        if asked is not None:
            found = _range(asked, len(data))
            if found is None:
                self.server.note(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, video_id)
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, f"bytes */{len(data)}")
                return
            status, (first, last) = HTTPStatus.PARTIAL_CONTENT, found
        self.server.note(status, video_id)
        content_range = f"bytes {first}-{last}/{len(data)}" if status is HTTPStatus.PARTIAL_CONTENT else None
        self._head(status, last + 1 - first, content_range)
        if with_body:
            try:
                self.wfile.write(data[first : last + 1])
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client was killed

    def _head(self, status: HTTPStatus, length: int, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header with one range (RFC 9110, 14.1.2); None where nothing satisfies it."""
    matched = _RANGE.fullmatch(header.strip())
    if matched is None or not (matched[1] or matched[2]):
        return None
    if not matched[1]:
        first, last = max(0, size - int(matched[2])), size - 1
    else:
        first, last = int(matched[1]), min(int(matched[2] or size - 1), size - 1)
    return (first, last) if first <= last else None
