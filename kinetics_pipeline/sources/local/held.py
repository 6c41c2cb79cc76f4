"""Which clips a source has files for, and what is odd about the files' names."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import LocalSource
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.sources.local.names import other_suffix

log = logging.getLogger(__name__)


def held(source: LocalSource, clips: Iterable[Clip]) -> set[str]:
    """The clip_ids of the clips that `source` has a file for.

    Says once how many files have another suffix than the annotations give them. Raises UserError for a clip that two
    files of one name may hold (`names.require_apart`).
    """
    found: set[str] = set()
    if isinstance(source, FolderSource) and not len(source):
        return found  # no clip is made of a row to be told that a folder without files does not have it
    renamed: list[tuple[str, str]] = []
    for clip in clips:
        media = source.candidates(clip)
        if not media:
            continue
        found.add(clip.clip_id)
        name = media[0].inside.name if media[0].inside is not None else media[0].path.name
        if clip.path is not None and other_suffix(clip.path, name):
            renamed.append((clip.path, name))
    if renamed:
        asked, name = renamed[0]
        log.warning(
            "source %r: %d files have another suffix than the annotations say, as %r for %r",
            source.name,
            len(renamed),
            name,
            asked,
        )
    return found
