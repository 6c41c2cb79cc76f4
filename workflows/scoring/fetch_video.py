"""A video at a URL, for `predict`: one download, by the same sources that builds use."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.records import YOUTUBE_ID, Clip, clip_id
from kinetics_pipeline.sources import parse_source
from kinetics_pipeline.sources.base import LocalSource, Media, NetworkSource, is_network
from kinetics_pipeline.sources.child_process import KillableChild
from kinetics_pipeline.sources.objects.videos import is_object_place, one_object
from kinetics_pipeline.sources.options import SourceOptions

YOUTUBE_HOSTS = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be"})
TIME_LIMIT = 900.0
"""Seconds of a download."""


def fetch_video(url: str, start: float, end: float, short_side: int, folder: Path) -> Media:
    """The video at `url`, or the part of it that holds these seconds, in `folder`.

    Raises UserError for a URL that is none, JobFailed when it cannot be fetched.
    """
    options = SourceOptions(short_side=short_side)
    video_id = youtube_id(url)
    source: LocalSource | NetworkSource
    if video_id is not None:
        source = parse_source("youtube", options)
    elif is_object_place(url):
        video_id, source = "video", one_object(url, options)
    else:
        video_id = "video"
        # What follows # is not sent: a template must name the video, and a URL is one file.
        plain = url.partition("#")[0].replace("{", "%7B").replace("}", "%7D")
        source = parse_source(plain + "#{video_id}", options)
    assert is_network(source)
    clip = Clip(clip_id(video_id, start, end), video_id, start, end, None, "test")
    child = KillableChild(credentials=source.uses_credentials)
    try:
        found = child.download(source, video_id, [clip], folder, TIME_LIMIT)
    finally:
        child.close()
    if clip.clip_id not in found.media:
        why = found.failure
        reason = "it gave nothing" if why is None else f"{why.outcome}: {why.detail}"
        raise JobFailed(f"{shown(url)} cannot be fetched: {reason}")
    return found.media[clip.clip_id]


def youtube_id(url: str) -> str | None:
    """The id in a URL of YouTube; None for one of another host. Raises UserError where YouTube's names no video."""
    parts = urlsplit(url)
    if (parts.hostname or "").lower() not in YOUTUBE_HOSTS:
        return None
    path = [piece for piece in parts.path.split("/") if piece]
    named = parse_qs(parts.query).get("v", [path[-1] if path else ""])[0]
    if not YOUTUBE_ID.fullmatch(named):
        raise UserError(f"VIDEO is {shown(url)}, which names no video; allowed: https://youtu.be/ID or .../watch?v=ID")
    return named


def shown(url: str) -> str:
    """A URL without account and query, which may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
