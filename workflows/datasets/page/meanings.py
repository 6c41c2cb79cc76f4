"""What each outcome of a clip means, and what a user may do about it: in words for people."""

from __future__ import annotations

from kinetics_pipeline.records import Outcome

MEANINGS: dict[Outcome, tuple[str, str]] = {
    "ok": ("frames and flow are stored", ""),
    "gone": ("the video was removed", "nothing: trying again cannot change it; a copy of the videos may have it"),
    "not_found": ("no source has the video", "add a source that may have it, and build again with --retry not_found"),
    "too_short": ("the video holds less than half of the clip", "nothing: the annotation is of another version"),
    "decode": ("the video file is damaged", "build with another source and --retry decode"),
    "withdrawn": ("withdrawn with `tools forget`", "nothing: this is for good"),
    "private": ("the video is private", "build with --cookies of an account that may see it, and --retry private"),
    "age_restricted": ("the video needs an adult's account", "build with --cookies and --retry age_restricted"),
    "members_only": ("the video is for members of its channel", "build with --cookies and --retry members_only"),
    "geo_blocked": ("the video is blocked in this country", "build from another place, with --retry geo_blocked"),
    "network": ("the connection failed each time", "build on another day with --retry network"),
    "no_format": ("no format of the video could be had", "update yt-dlp, then build with --retry no_format"),
    "internal": ("something failed that should not have", "read the reason, then build with --retry internal"),
}
