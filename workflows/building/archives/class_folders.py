"""Classes of clips whose annotations say none: the folders that their files lie in, within archives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from kinetics_pipeline.annotations.class_names import matched
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.local.tars import ArchiveSource


def folder_labels(clips: Iterable[Clip], sources: Sequence[ArchiveSource], classes: Sequence[str]) -> dict[str, str]:
    """The class that the nearest folder of a clip's first file is named after, in any spelling, by clip_id; only of
    clips without a label. `classes`: the dataset's."""
    found: dict[str, str] = {}
    known: dict[str, str | None] = {}
    for clip in clips:
        if clip.label is not None or not classes:
            continue
        media = next((one for source in sources for one in source.candidates(clip)), None)
        if media is None or media.inside is None:
            continue
        folder = PurePosixPath(media.inside.name).parent.name
        if folder not in known:
            known[folder] = matched(folder, classes)
        if (label := known[folder]) is not None:
            found[clip.clip_id] = label
    return found
