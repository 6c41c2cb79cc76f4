"""How a server of a test answers."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


class Answers(BaseHTTPRequestHandler):
    """Says whole answers, without a body where the head is asked for, and logs nothing."""

    def _say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
