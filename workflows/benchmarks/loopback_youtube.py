"""A YouTube on loopback: the same film under each id, but for those that were removed. For benchmarks.

An HTTP proxy that is YouTube behind its CONNECT tunnels, so that yt-dlp's real extractor talks to it; the film is also
at /ID.mp4 for any other client.
"""

from __future__ import annotations

import datetime
import http.server
import json
import re
import socketserver
import ssl
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

CLIENT = {"player_client": ["visionos"], "player_skip": ["webpage", "configs", "js", "initial_data"]}
"""yt-dlp's `extractor_args` for a client that needs neither web page nor player script."""
_OPTIONS = {"nocheckcertificate": True, "sleep_interval_requests": 0, "extractor_args": {"youtube": CLIENT}}
FLAGS = (
    *("--rate", "100000000"),
    *(word for name, value in _OPTIONS.items() for word in ("--ytdlp-option", f"{name}={json.dumps(value)}")),
)
"""Flags with which `build` takes this YouTube for the real one, besides `--proxy`."""


class LoopbackYouTube(http.server.ThreadingHTTPServer):
    """Serves `film` (MP4, `width` x `height`, `seconds` long); a context manager on a free port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, film: Path, width: int, height: int, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = film.read_bytes()
        self.width, self.height, self.seconds = width, height, seconds
        self.missing: set[str] = set()
        """Ids of videos that were removed."""
        self.tls = _tls()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Starts the counts again."""
        self.requests, self.bytes_sent = 0, 0
        self.first: float | None = None
        """Time when the first request came (`time.monotonic`)."""

    def note(self, sent: int) -> None:
        with self._lock:
            self.requests += 1
            self.bytes_sent += sent
            self.first = self.first or time.monotonic()

    def __enter__(self) -> LoopbackYouTube:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not news."""

    def player(self, video_id: str) -> dict[str, Any]:
        """What the player API answers, as far as yt-dlp reads it."""
        milliseconds = str(round(self.seconds * 1000))
        one = {
            "itag": 134,
            "url": f"https://rr1---sn-loopback.googlevideo.com/videoplayback?vid={video_id}",
            "mimeType": 'video/mp4; codecs="avc1.4d401e"',
            "bitrate": round(len(self.content) * 8 / self.seconds),
            "contentLength": str(len(self.content)),
            "approxDurationMs": milliseconds,
            "quality": "medium",
            "qualityLabel": f"{self.height}p",
            "width": self.width,
            "height": self.height,
            "fps": 25,
        }
        if video_id in self.missing:
            reason = "This video has been removed by the uploader"
            return {"playabilityStatus": {"status": "ERROR", "reason": reason}}
        return {
            "playabilityStatus": {"status": "OK"},
            "videoDetails": {"videoId": video_id, "title": "loopback", "lengthSeconds": str(round(self.seconds))},
            "streamingData": {"formats": [], "adaptiveFormats": [one]},
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LoopbackYouTube
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        """The server counts."""

    def do_CONNECT(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = socketserver._SocketWriter(self.connection)  # type: ignore[attr-defined]
        self.close_connection = False  # the requests inside the tunnel follow

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self._answer(200, json.dumps(self.server.player(asked.get("videoId", ""))).encode(), "application/json")

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path != "/videoplayback" and not path.endswith(".mp4"):
            self._answer(404, b"", "text/plain")
            return
        content = self.server.content
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self._answer(200, content, "video/mp4")
            return
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        self._answer(206, content[first : last + 1], "video/mp4", f"bytes {first}-{last}/{len(content)}")

    def _answer(self, status: int, body: bytes, kind: str, content_range: str | None = None) -> None:
        self.server.note(len(body))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"loopback"')
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)


def _tls() -> ssl.SSLContext:
    """A server context with a throw-away key and a certificate that nobody vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder, "chain.pem")
        chain.write_bytes(secret + pem)
        context.load_cert_chain(chain)
    return context
