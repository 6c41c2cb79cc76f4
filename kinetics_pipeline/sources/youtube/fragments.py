"""The list of a video's fragments (HLS, DASH), read before any is fetched: from a list that is not whole would come
other seconds, or fewer.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from kinetics_pipeline.sources.base import Failure
from kinetics_pipeline.sources.youtube.texts import DRM, NOT_WHOLE
from kinetics_pipeline.video.container import picture_times

if TYPE_CHECKING:
    from kinetics_pipeline.sources.http.ytdlp import Opener

HLS = ("m3u8", "m3u8_native")
"""Protocols (of yt-dlp's) whose list is a playlist of its own."""
SHORTER = 1.0
"""Seconds that a list may lack of what YouTube says a video lasts, in whole seconds."""
LONGER = 2.0
"""Seconds that a list may last beyond that: more is another film, or one with another between."""

LOST = 0.5
"""Seconds of pictures that may lack at the ends of what came."""
READING_TIME = 120.0
"""Seconds for reading through what came."""

_DURATION = re.compile(r"#EXTINF:\s*([\d.]+)", re.ASCII)
_SEQUENCE = re.compile(r"#EXT-X-MEDIA-SEQUENCE:\s*(\d+)", re.ASCII)


def listed(opener: Opener, found: Mapping[str, Any]) -> dict[str, Any] | Failure:
    """The format `found` (as yt-dlp describes it) with its list of fragments, which is whole; else why there is none.
    Raises what a request of `opener` raises."""
    from yt_dlp.downloader.hls import HlsFD
    from yt_dlp.networking.common import Request

    duration = found.get("duration")
    if found.get("protocol") not in HLS:
        lengths = [one["duration"] for one in found.get("fragments") or () if one.get("duration")]
        fits = not lengths or _fits(sum(lengths), duration)
        return dict(found) if fits else Failure("network", NOT_WHOLE)
    response = opener.urlopen(Request(found["url"], headers=dict(found.get("http_headers") or {})))
    playlist = response.read().decode("utf-8", "replace")
    if not HlsFD.can_download(playlist, dict(found)):
        return Failure("no_format", DRM)
    if not is_whole(playlist, duration):
        return Failure("network", NOT_WHOLE)
    return {**found, "url": response.url, "hls_media_playlist_data": playlist}


def first(found: Mapping[str, Any]) -> str:
    """The address of the first fragment of a format that is `listed`; the format's own where none is named."""
    playlist = str(found.get("hls_media_playlist_data") or "")
    names = [line.strip() for line in playlist.splitlines() if line.strip() and not line.startswith("#")]
    names += [str(one["url"]) for one in found.get("fragments") or () if one.get("url")]
    return urljoin(found["url"], names[0]) if names else str(found["url"])


def came_whole(path: Path, found: Mapping[str, Any]) -> bool:
    """Whether the pictures of a file that was joined from `listed` fragments last as long as these, without a gap of
    half a fragment: a server may answer for one with something else. Raises TimeoutError."""
    playlist = found.get("hls_media_playlist_data")
    if playlist is None:
        return True
    lengths = [float(seconds) for seconds in _DURATION.findall(playlist)]
    times = picture_times(path, READING_TIME)
    if not times:
        return False
    gaps = [later - earlier for (_, earlier), (later, _) in itertools.pairwise(times)]
    shortest = min(lengths[:-1] or lengths)
    return times[-1][1] - times[0][0] > sum(lengths) - LOST and max(gaps, default=0.0) < shortest / 2


def is_whole(playlist: str, duration: float | None) -> bool:
    """Whether an HLS playlist (RFC 8216) ends, begins at the beginning, names no fragment twice or as missing, and
    lasts as long as its video. `duration`: seconds of the video; None where nobody says."""
    if not playlist.lstrip("\ufeff").startswith("#EXTM3U") or "#EXT-X-ENDLIST" not in playlist:
        return False
    if "#EXT-X-GAP" in playlist or any(int(number) > 1 for number in _SEQUENCE.findall(playlist)):
        return False
    names: list[str] = []
    part = ""
    for line in map(str.strip, playlist.splitlines()):
        if line.startswith("#EXT-X-BYTERANGE"):
            part = line
        elif line and not line.startswith("#"):
            names.append(f"{part} {line}")
            part = ""
    # A byte range without its first byte follows the one before: the same text is not the same part.
    wholly_named = [name for name in names if not name.startswith("#") or "@" in name.split()[0]]
    if not names or len(set(wholly_named)) < len(wholly_named):
        return False
    return _fits(sum(float(seconds) for seconds in _DURATION.findall(playlist)), duration)


def _fits(seconds: float, duration: float | None) -> bool:
    return duration is None or duration - SHORTER < seconds < duration + LONGER
