"""An HTTP proxy that is YouTube behind its CONNECT tunnels."""

from __future__ import annotations

import json
import math
import socketserver
import ssl
import time
import urllib.parse
from dataclasses import replace
from typing import Any

from tests.fake_youtube.answers import PLAYABILITY
from tests.fake_youtube.certificate import server_context
from tests.fake_youtube.server import Handler, Server
from tests.fake_youtube.videos import WATCH_PAGE, Faults, Rendition, Video

PLAYER_SCRIPT = "/s/player/0123abcd/player_ias.vflset/en_US/base.js"
PLAYLIST = "/api/manifest/hls_playlist/itag/93/index.m3u8"


class _YouTubeHandler(Handler):
    owner: FakeYouTube

    def do_CONNECT(self) -> None:
        self.tunnel = self.path.rsplit(":", 1)[0]
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.wfile.flush()
        try:
            self.connection = server_context().wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, OSError):
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile = socketserver._SocketWriter(self.connection)  # type: ignore[attr-defined,assignment]
        self.close_connection = False  # the requests inside the tunnel follow

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        video_id = body.get("videoId")
        entry = self.entry(video_id)
        if urllib.parse.urlsplit(self.path).path == "/youtubei/v1/next":
            return self.answer(entry, 200, b'{"contents": {"fake": true}}', "application/json")
        if urllib.parse.urlsplit(self.path).path != "/youtubei/v1/player":
            return self.answer(entry, 404)
        entry.client = body.get("context", {}).get("client", {}).get("clientName", "")
        video = self.owner.as_seen_by(entry.client, video_id)
        if not self.owner.hits(Faults(str(video.playability or "ok"), video.refusals), ("playability", video_id)):
            video = replace(video, playability=None)
        if not self.owner.hits(video.api, ("api", video_id)):
            video = replace(video, api=Faults())
        elif self.fails(entry, video.api):
            return None
        document = json.dumps(self.owner.player(video_id, video)).encode()
        return self.answer(entry, 200, document, "application/json")

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        video_id = query.get("vid") or query.get("v")
        entry = self.entry(video_id)
        if parts.path == "/watch":
            watch = self.owner.as_seen_by(WATCH_PAGE, video_id or "").watch
            if self.owner.hits(watch, ("watch", video_id)) and self.fails(entry, watch):
                return None
            return self.answer(entry, 200, self.owner.watch_page(video_id or "").encode(), "text/html")
        if parts.path == PLAYER_SCRIPT:
            return self.answer(entry, 200, b"var player={signatureTimestamp:20780};", "text/javascript")
        video = self.owner.videos.get(video_id or "")
        if video is None:
            return self.answer(entry, 404)
        if parts.path in ("/hls.m3u8", PLAYLIST):
            faults = video.playlist if parts.path == PLAYLIST else video.manifest
            if self.owner.hits(faults, (parts.path, video_id)) and self.fails(entry, faults):
                return None
            make = self.owner.playlist if parts.path == PLAYLIST else self.owner.manifest
            text = "\n".join(make(video_id or "", video))
            return self.answer(entry, 200, text.encode(), "application/vnd.apple.mpegurl")
        if parts.path == "/fragment":
            number = int(query["number"])
            faults = video.fragment_faults.get(number, Faults())
            key = ("fragment", video_id, number)
            return self.send_file(entry, video.fragments[number], faults if self.owner.hits(faults, key) else Faults())
        if parts.path != "/videoplayback":
            return self.answer(entry, 404)
        if float(query.get("from", 0)) > time.time():
            return self.answer(entry, 403, b"the advertisement is still running")
        rendition = next(r for r in video.renditions if str(r.itag) == query["itag"])
        faults = rendition.media or video.media
        key = ("media", video_id, query["itag"] if rendition.media else None)
        return self.send_file(entry, rendition.path, faults if self.owner.hits(faults, key) else Faults())


class FakeYouTube(Server):
    """YouTube behind an HTTP proxy; give yt-dlp `options()` and its real extractor talks to this process."""

    handler = _YouTubeHandler

    def __init__(self, videos: dict[str, Video] | None = None, port: int = 0) -> None:
        self.videos = dict(videos or {})
        self.refusing: str | None = None
        """A key of `PLAYABILITY`: what every video answers from now on."""
        super().__init__(port)

    ytdlp_options: dict[str, Any] = {  # noqa: RUF012
        "nocheckcertificate": True,
        "retries": 0,
        "extractor_retries": 0,
        "sleep_interval_requests": 0,
        # One client that needs neither web page nor player script, so that a video is one API request.
        "extractor_args": {
            "youtube": {"player_client": ["visionos"], "player_skip": ["webpage", "configs", "js", "initial_data"]}
        },
    }

    default_options: dict[str, Any] = {  # noqa: RUF012
        name: value for name, value in ytdlp_options.items() if name != "extractor_args"
    }
    """Options that keep yt-dlp's default clients: the watch page, the player's script, and several clients in turn."""

    def as_seen_by(self, client: str, video_id: str) -> Video:
        """The video as it is shown to one client."""
        if self.refusing is not None:
            return Video(playability=self.refusing)
        video = self.videos.get(video_id, Video(playability="unavailable"))
        return video.by_client.get(client, video)

    def media_url(self, video_id: str, rendition: Rendition, video: Video) -> str:
        """A signed URL: another at every extraction, good from the end of the advertisement on."""
        query = {"vid": video_id, "itag": rendition.itag, "sig": time.monotonic_ns(), **rendition.query}
        if video.advertisement:
            query["from"] = time.time() + video.advertisement
        return f"https://rr1---sn-fake.googlevideo.com/videoplayback?{urllib.parse.urlencode(query)}"

    def manifest(self, video_id: str, video: Video) -> list[str]:
        """The HLS manifest of a video, which names the one playlist there is."""
        width, height = (video.renditions[0].width, video.renditions[0].height) if video.renditions else (160, 128)
        about = f'BANDWIDTH=500000,CODECS="avc1.4d401e",RESOLUTION={width}x{height},FRAME-RATE=25'
        return ["#EXTM3U", f"#EXT-X-STREAM-INF:{about}", f"https://manifest.googlevideo.com{PLAYLIST}?vid={video_id}"]

    def playlist(self, video_id: str, video: Video) -> list[str]:
        """The lines of the HLS playlist of a video: its fragments, or else its one file as a fragment."""
        if video.listed is not None:
            return video.listed
        lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:60", "#EXT-X-PLAYLIST-TYPE:VOD"]
        if not video.fragments:
            lines += [f"#EXTINF:{video.duration:.1f},", self.media_url(video_id, video.renditions[0], video)]
        for number in range(len(video.fragments)):
            address = f"https://rr1---sn-fake.googlevideo.com/fragment?vid={video_id}&number={number}"
            lines += [f"#EXTINF:{video.duration / len(video.fragments):.3f},", address]
        return [*lines, "#EXT-X-ENDLIST", ""]

    def watch_page(self, video_id: str) -> str:
        """The page that yt-dlp's default clients ask for first. As the real one it names no media."""
        answer = self.player(video_id, self.as_seen_by(WATCH_PAGE, video_id))
        answer.pop("streamingData", None)
        config = {
            "INNERTUBE_CONTEXT": {"client": {"clientName": "WEB", "clientVersion": "2.20260708.00.00"}},
            "PLAYER_JS_URL": PLAYER_SCRIPT,
        }
        return (
            f"<html><body><script>ytcfg.set({json.dumps(config)});</script>"
            f"<script>var ytInitialPlayerResponse = {json.dumps(answer)};</script>"
            '<script>var ytInitialData = {"contents": {"fake": true}};</script></body></html>'
        )

    def player(self, video_id: str, video: Video) -> dict[str, Any]:
        """What the player's API answers."""
        playability = PLAYABILITY[video.playability] if isinstance(video.playability, str) else video.playability
        document: dict[str, Any] = {
            "playabilityStatus": playability or {"status": "OK"},
            "videoDetails": {
                "videoId": "WRONGWRONG0" if video.api.kind == "wrong_video" else video_id,
                "title": "fake",
                "lengthSeconds": str(round(video.duration)),
                "channelId": "UC" + "x" * 22,
                **video.details,
            },
        }
        if video.microformat:
            document["microformat"] = {"playerMicroformatRenderer": video.microformat}
        if video.advertisement:
            document["adPlacements"] = [advertisement(video.advertisement)]
        if playability is None and video.hls:
            manifest = f"https://manifest.googlevideo.com/hls.m3u8?vid={video_id}"
            document["streamingData"] = {"formats": [], "adaptiveFormats": [], "hlsManifestUrl": manifest}
        elif playability is None:
            formats = [
                (bool(r.vcodec and r.acodec), r.to_json(self.media_url(video_id, r, video), video.duration))
                for r in video.renditions
            ]
            document["streamingData"] = {
                "formats": [one for combined, one in formats if combined],
                "adaptiveFormats": [one for combined, one in formats if not combined],
            }
        return document


def advertisement(seconds: float) -> dict[str, Any]:
    """An advertisement before the video, as a player's answer announces it."""
    video = {"instreamVideoAdRenderer": {"playerVars": f"length_seconds={math.ceil(seconds)}"}}
    config = {"adPlacementConfig": {"kind": "AD_PLACEMENT_KIND_START"}}
    return {"adPlacementRenderer": {"config": config, "renderer": video}}
