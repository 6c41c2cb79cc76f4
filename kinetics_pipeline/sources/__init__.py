"""Where a video's bytes come from: YouTube, a URL template, a folder."""

from __future__ import annotations

from pathlib import Path

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.base import LocalSource, NetworkSource
from kinetics_pipeline.sources.options import SourceOptions


def parse_source(text: str, options: SourceOptions) -> LocalSource | NetworkSource:
    """The source that a `--source` names: `youtube`, `https://host/{video_id}.mp4`, a folder.

    Raises UserError, one line, for anything else.
    """
    if text.lower() == "youtube":
        from kinetics_pipeline.sources.youtube import YouTube

        return YouTube(options)
    if "://" in text:
        from kinetics_pipeline.sources.template import UrlTemplate

        return UrlTemplate(text, options)
    path = Path(text).expanduser()
    if text and path.is_dir():
        from kinetics_pipeline.sources.folder import FolderSource

        return FolderSource(path.resolve())
    if path.is_file() or any(sign in text for sign in "*?["):
        raise UserError(f"source {text!r} is no folder; unpack tar files into one, and give that")
    raise UserError(f"source {text!r} is neither 'youtube', nor a URL like https://host/{{video_id}}.mp4, nor a folder")
