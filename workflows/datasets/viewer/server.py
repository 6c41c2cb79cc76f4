"""The viewer's web server: on loopback, for whoever knows the token in its address, and for no other web page.

Every answer lies below `/TOKEN/`. A request is refused whose Host is not this machine (a page elsewhere whose name was
made to lead here), or that a browser sends for another site. Nothing is allowed to other origins, and nothing is kept
by the browser.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.workflows.datasets.viewer.catalogue import Choice
from kinetics_pipeline.workflows.datasets.viewer.predictions import Wanted
from kinetics_pipeline.workflows.datasets.viewer.view import DatasetView

_FILES = {
    "": ("page.html", "text/html"),
    "look.css": ("look.css", "text/css"),
    "viewer.js": ("viewer.js", "text/javascript"),
    "grid.js": ("grid.js", "text/javascript"),
    "player.js": ("player.js", "text/javascript"),
    "flow.js": ("flow.js", "text/javascript"),
    "page.js": ("page.js", "text/javascript"),
}
"""What lies in `browser/`, by its address below the token."""
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Any port is right: that of this machine, or that of a tunnel to it."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LARGEST_BODY = 1 << 20
_IDLE = 60
"""Seconds that a connection may wait for a request, or a request for its end."""
Query = Mapping[str, str]


class ViewerServer(ThreadingHTTPServer):
    """Serves a view at `address`, until it is shut down."""

    daemon_threads = True

    def __init__(self, view: DatasetView, port: int) -> None:
        """`port` 0 is any free one. Raises UserError for one that cannot be had."""
        self.view = view
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it is not a port; allowed: 0 to 65535"
            raise UserError(f"--port is {port}, which cannot be had: {reason}") from None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE

    def version_string(self) -> str:
        return "kinetics-pipeline"

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing: addresses hold the token."""

    def do_GET(self) -> None:
        path = self._allowed()
        if path is None:
            return
        if path in _FILES:
            name, kind = _FILES[path]
            folder = files("kinetics_pipeline.workflows.datasets.viewer") / "browser"
            self._send(HTTPStatus.OK, (folder / name).read_bytes(), f"{kind}; charset=utf-8")
            return
        answer = _ANSWERS.get(path)
        if answer is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing at this address")
            return
        query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self._answer(lambda: answer(self.server.view, query))

    def do_POST(self) -> None:
        path = self._allowed()
        if path is None:
            return
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get_content_type()
        if path not in _SENT or kind != "application/json" or not length.isdecimal() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, "this cannot be sent here")
            return
        body = self.rfile.read(int(length))
        self._answer(lambda: _SENT[path](self.server.view, body))

    def _allowed(self) -> str | None:
        """The path below the token; None when the request is refused, and was answered."""
        host = self.headers.get("Host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name not in _HOSTS:
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers at 127.0.0.1 and localhost only")
            return None
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if site not in ("none", "same-origin") or (origin is not None and origin.lower() != f"http://{host}"):
            self._refuse(HTTPStatus.FORBIDDEN, "other web pages may not ask this server")
            return None
        token, _, path = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "open the address that `report --serve` printed")
            return None
        return path

    def _answer(self, work: Callable[[], Any]) -> None:
        try:
            made = work()
        except WorkRemains as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except UserError as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))
        else:
            if isinstance(made, bytes):
                kind = "image/jpeg" if made[:2] == b"\xff\xd8" else "application/octet-stream"
                self._send(HTTPStatus.OK, made, kind)
            else:
                self._send(HTTPStatus.OK, json.dumps(made).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        if status is HTTPStatus.FORBIDDEN:
            self.close_connection = True  # what it sends besides is not read
        self._send(status, json.dumps({"error": visible(reason)}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ("Content-Type", kind), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True


def _number(query: Query, name: str) -> int | None:
    """A whole number that is asked with. Raises UserError for another text."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text[:12])
    except ValueError:
        raise UserError(f"{name} is {text[:40]!r}; allowed: a whole number") from None


def _clips(view: DatasetView, query: Query) -> dict[str, Any]:
    first = max(0, _number(query, "first") or 0)
    scored, label, predicted = (_number(query, name) for name in ("scored", "label", "predicted"))
    if scored is not None and label is not None and predicted is not None:
        return view.cell(first, scored, (label, predicted))
    wanted: dict[str, Wanted] = {"mistakes": "mistakes", "correct": "correct"}
    choice = Choice(
        class_number=_number(query, "class"),
        split=query.get("split"),
        outcome=query.get("outcome"),
        search=query.get("search", "")[:200],
    )
    return view.clips(choice, first, scored, wanted.get(query.get("wanted", ""), "all"))


def _marked(view: DatasetView, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
        add, remove = document["add"], document["remove"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError("the marked clips are not a document of those to add and to remove") from None
    return view.mark(add, remove)


_ANSWERS: dict[str, Callable[[DatasetView, Query], Any]] = {
    "api/about": lambda view, query: view.about(),
    "api/news": lambda view, query: view.news(),
    "api/clips": _clips,
    "api/cells": lambda view, query: view.cells(_number(query, "scored") or 0),
    "api/clip": lambda view, query: view.clip(query.get("id", "")),
    "api/picture": lambda view, query: view.middle(query.get("id", "")),
    "api/frames": lambda view, query: view.chunk(query.get("id", ""), _number(query, "chunk") or 0),
}
_SENT: dict[str, Callable[[DatasetView, bytes], Any]] = {
    "api/marks": _marked,
    "api/reading": lambda view, body: view.read_again(),
}
"""What may be sent to the viewer."""
