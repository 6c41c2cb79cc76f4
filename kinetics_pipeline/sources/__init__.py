"""Where a video's bytes come from: YouTube, servers, object stores, public copies, folders and archives.

In: what a `--source` names (`parse_source`), then a `Clip`. Out: a `Media`, which is a file on this machine that holds
the clip, or a `Failure`. Begin reading with `base`: a `LocalSource` has the files (`local`), a `NetworkSource` is asked
for them (`youtube`, `http`, `objects`). `archives` fetches public copies, which are local from then on. `pace` decides
when to ask again; `child_process` runs a download so that it can be killed; `options` has what a user may choose.
"""

from __future__ import annotations

import logging
from pathlib import Path

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.base import LocalSource, NetworkSource
from kinetics_pipeline.sources.options import SourceOptions

log = logging.getLogger(__name__)


def parse_source(text: str, options: SourceOptions, cache: Path | None = None) -> LocalSource | NetworkSource:
    """The source that a `--source` names: `youtube`, `https://host/{video_id}.mp4`, `s3://bucket/{video_id}.mp4` or a
    prefix of videos, a folder, archives (one, a pattern, a folder of them), whose contents are noted in `cache`
    (default: the user's).

    Raises UserError, one line, for anything else; WorkRemains for an object store that cannot be reached.
    """
    if text.lower() == "youtube":
        from kinetics_pipeline.sources.youtube.source import YouTube

        return YouTube(options)
    from kinetics_pipeline.sources.objects.videos import is_object_place, open_object_videos

    if is_object_place(text):
        return open_object_videos(text, options)
    if "://" in text:
        from kinetics_pipeline.sources.http.template import UrlTemplate

        return UrlTemplate(text, options)
    from kinetics_pipeline.sources.local.parts import SUFFIXES
    from kinetics_pipeline.sources.local.tars import TarSource, tar_files
    from kinetics_pipeline.storage.cache import cache_folder

    tars = tar_files(text) if text else []
    path = Path(text).expanduser()
    if text and path.is_dir():
        from kinetics_pipeline.sources.local.folder import FolderSource

        folder = FolderSource(path.resolve())
        if folder.holds_videos() or not tars:
            if tars:
                log.warning("source %r holds videos; the archives in it are not read: name them by a pattern", text)
            return folder
    if tars:
        return TarSource(tars, cache_folder(cache) / "tars")
    raise UserError(
        f"source {text!r} is neither 'youtube', nor a URL like https://host/{{video_id}}.mp4 or s3://bucket/prefix, "
        f"nor a folder, nor names archives ({', '.join(SUFFIXES)}, or their parts as .tar.gz.0000)"
    )
