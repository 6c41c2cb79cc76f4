"""What the driver tells of its work, about twice a second: small values that it has anyway."""

from __future__ import annotations

from dataclasses import dataclass

from kinetics_pipeline.records import Record
from kinetics_pipeline.workflows.building.executor import Lost
from kinetics_pipeline.workflows.building.fetch import FetchAnswer
from kinetics_pipeline.workflows.building.process import ClipJob, Processed


@dataclass(frozen=True)
class VideoFetched:
    """A download has ended, well or not."""

    answer: FetchAnswer


@dataclass(frozen=True)
class ClipProcessed:
    """The work on a clip has ended, well or not."""

    job: ClipJob
    result: Processed | Lost


@dataclass(frozen=True)
class ClipTriedAgain:
    """A clip whose last try failed is tried again."""

    clip_id: str
    after_seconds: float


@dataclass(frozen=True)
class ClipFinished:
    """A clip has its outcome."""

    record: Record


@dataclass(frozen=True)
class ClipTakenBack:
    """A clip that had finished so has not after all, and begins again."""

    record: Record


@dataclass(frozen=True)
class ShardCommitted:
    """A shard is in the dataset."""

    name: str
    bytes: int
    """Bytes of its data file."""
    seconds: float
    """Seconds since its writer was started."""


BuildEvent = VideoFetched | ClipProcessed | ClipTriedAgain | ClipFinished | ClipTakenBack | ShardCommitted
