"""Which clip of a dataset is meant: by its id, or by that of its video where that leaves no doubt."""

from __future__ import annotations

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted

_SHOWN = 5


def clip_named(dataset: Dataset, name: str) -> str:
    """The clip_id. Raises UserError where no clip has a record by that name, and where the video has several clips."""
    found = dataset.newest(lambda _, entry: entry["clip_id"] == name or entry["video_id"] == name)
    clips = sorted(clip for clip, meant in found.items() if meant)
    if name in clips:
        return name
    if not clips:
        raise UserError(f"clip {name!r} has no record in {dataset.store.uri}; allowed: a clip_id, or a video_id")
    if len(clips) > 1:
        named = ", ".join(clips[:_SHOWN]) + (", ..." if len(clips) > _SHOWN else "")
        raise UserError(
            f"video {name!r} has {counted(len(clips), 'clip')} in {dataset.store.uri}; allowed: one of {named}"
        )
    return clips[0]
