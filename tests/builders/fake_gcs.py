"""A Google Cloud Storage on loopback: the XML API that obstore speaks (https://cloud.google.com/storage/docs/xml-api)."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.builders.answers import Answers


class FakeGCS(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.objects: dict[str, bytes] = {}
        """By `/bucket/key`."""
        self.generations: dict[str, int] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and range of each request."""


@contextmanager
def fake_gcs() -> Iterator[FakeGCS]:
    with FakeGCS() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Answer(Answers):
    protocol_version = "HTTP/1.1"
    server: FakeGCS

    def do_PUT(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = self.headers.get("x-goog-if-generation-match")
        if wanted is not None and int(wanted) != self.server.generations.get(path, 0):
            self._say(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.server.objects[path] = body
        self.server.generations[path] = self.server.generations.get(path, 0) + 1
        self._say(200, b"", **self._about(path))

    def do_DELETE(self) -> None:
        self.server.objects.pop(unquote(urlsplit(self.path).path), None)
        self._say(204, b"")

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        if "list-type" in query:
            self._say(200, self._listing(path, query.get("prefix", [""])[0]))
            return
        data = self.server.objects.get(path)
        if data is None:
            self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        about = self._about(path)
        if self.headers.get("If-Match", about["ETag"]) != about["ETag"]:
            self._say(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        elif ranged := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            begin, end = int(ranged[1]), min(int(ranged[2]) + 1, len(data))
            self._say(206, data[begin:end], **about, **{"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"})
        else:
            self._say(200, data, **about)

    do_HEAD = do_GET

    def _about(self, path: str) -> dict[str, str]:
        return {
            "ETag": f'"{hashlib.md5(self.server.objects[path], usedforsecurity=False).hexdigest()}"',
            "Last-Modified": "Sat, 28 Nov 2026 09:00:00 GMT",
            "x-goog-generation": str(self.server.generations[path]),
        }

    def _listing(self, bucket: str, prefix: str) -> bytes:
        begin = f"{bucket.rstrip('/')}/"
        contents = "".join(
            f"<Contents><Key>{escape(path.removeprefix(begin))}</Key><Size>{len(data)}</Size>"
            f"<LastModified>2026-11-28T09:00:00.000Z</LastModified><ETag>{self._about(path)['ETag']}</ETag></Contents>"
            for path, data in sorted(self.server.objects.items())
            if path.startswith(begin + prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()
