"""The sound of a YouTube video whose pictures come without: which format it is taken from, and why there is none.

It is wanted for the segments that are kept, and no clip fails for want of it: what cannot be fetched is noted beside
the downloads, so that a later call neither asks again nor takes the pictures for all there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinetics_pipeline.sources.http.partial_file import write_whole

NAME = "youtube sound"
"""The name of the source of sound files, so that none is taken for a video."""
NONE = "the video has none"
ENOUGH = 96.0
"""Kilobits a second: YouTube's 128 are taken rather than its 48, which leave out what lies above 11 kHz."""


def best(formats: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The format (of yt-dlp's) to take the sound from, None where there is none: in the video's own language, in MP4
    (whose index allows sections), the smallest that is good enough, not with its loudness levelled (`-drc`)."""
    tracks = [
        one
        for one in formats
        if one.get("vcodec") == "none" and one.get("acodec") != "none" and one.get("protocol") in ("http", "https")
    ]
    return dict(sorted(tracks, key=_merit)[-1]) if tracks else None


def _merit(track: Mapping[str, Any]) -> tuple[float, bool, bool, bool, float]:
    rate = float(track.get("abr") or track.get("tbr") or 0.0)
    enough = rate >= ENOUGH
    language = track.get("language_preference")
    levelled = "-drc" in str(track.get("format_id"))
    return (
        -1 if language is None else language,
        track.get("ext") == "m4a",
        enough,
        not levelled,
        -rate if enough else rate,
    )


def silences(folder: Path, video_id: str) -> dict[str, str]:
    """Returns by clip_id why a clip has no sound of its own; an empty text where the pictures have the sound."""
    try:
        found = json.loads(_note(folder, video_id).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(clip): str(reason) for clip, reason in found.items()} if isinstance(found, dict) else {}


def remember(folder: Path, video_id: str, reasons: Mapping[str, str]) -> None:
    """Adds to what `silences` says."""
    if reasons:
        write_whole(_note(folder, video_id), json.dumps({**silences(folder, video_id), **reasons}).encode())


def _note(folder: Path, video_id: str) -> Path:
    return folder / f"{video_id}.silent"
