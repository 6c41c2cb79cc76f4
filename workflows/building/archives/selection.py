"""Which of the clips asked lie in which archive, which of them a limit leaves, and which are still to be made. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from kinetics_pipeline.file_names import normalised, without_unknown_suffix, without_video_suffix
from kinetics_pipeline.plan import BEFORE_ARCHIVES, NEVER_RETRIED
from kinetics_pipeline.records import RETRYABLE, Clip, Outcome
from kinetics_pipeline.sources.local.tars import Archive, ArchiveSource


@dataclass(frozen=True)
class Failed:
    """The newest record of a clip that is not `ok`."""

    outcome: Outcome
    detail: str
    plan: int
    group: int | None
    """The group of archives that its plan was of; None for a plan of all sources."""

    @property
    def settled_outcome(self) -> Outcome:
        """What it says of its source for good: another try there is for another run."""
        return "not_found" if self.outcome in RETRYABLE else self.outcome


@dataclass
class Selection:
    """The clips asked, as archives are read in their order. A larger `limit` leaves what a smaller one left, and more:
    clips count in the order of the archives, those of one archive in the plan's fixed order, and those that are in no
    archive last."""

    clips: Mapping[str, Clip]
    """The clips asked by clip_id, in the plan's fixed order."""
    limit: int | None
    done: set[str]
    """Clips that are ok or withdrawn."""
    failed: dict[str, Failed]
    retried: Collection[str]
    """Outcomes of earlier runs that are tried again."""
    first_plan: int
    """The number of the first plan of this run."""
    other_sources: bool
    """Whether there are sources beside the archives."""
    chosen: dict[str, None] = field(default_factory=dict)
    """Clips that the limit leaves, of those in the archives that were looked at so far."""
    _held: dict[str, list[str]] = field(default_factory=dict)
    """The clips that each archive holds, by its key."""

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        """The places, in the fixed order, of the clips of each video, by its id as names are compared."""
        found: dict[str, list[int]] = {}
        for number, clip in enumerate(self.clips.values()):
            found.setdefault(normalised(clip.video_id), []).append(number)
        return found

    @cached_property
    def _ordered(self) -> list[Clip]:
        return list(self.clips.values())

    @cached_property
    def _named_by_path(self) -> list[int]:
        """The places of the clips whose annotation says where their file lies."""
        return [number for number, clip in enumerate(self.clips.values()) if clip.path is not None]

    def learn(self, archives: Mapping[str, Archive]) -> None:
        """Takes in what archives hold, by key."""
        source = ArchiveSource("archives", list(archives.values()))
        keys = {archive.path: key for key, archive in archives.items()}
        found: dict[str, dict[str, None]] = {key: {} for key in archives}
        for clip in self._perhaps_in(archives.values()):
            for media in source.candidates(clip):
                found[keys[media.path]][clip.clip_id] = None
        self._held |= {key: list(clips) for key, clips in found.items()}

    def _perhaps_in(self, archives: Iterable[Archive]) -> list[Clip]:
        """The clips whose video an archive has a file of, by its name, in order: a small part of all."""
        stems: set[str] = set()
        for archive in archives:
            for name, _, _ in archive.members:
                file = PurePosixPath(name).name
                for root in {without_video_suffix(file), without_unknown_suffix(file) or file}:
                    stem = normalised(root)
                    stems |= {stem, stem.rsplit("_", 2)[0]}
        numbers = {number for stem in stems for number in self._numbers.get(stem, ())}
        return [self._ordered[number] for number in sorted(numbers.union(self._named_by_path))]

    @property
    def is_full(self) -> bool:
        """Whether there are as many clips as the limit allows."""
        return self.limit is not None and len(self.chosen) >= self.limit

    def take_first(self, clip_ids: Collection[str]) -> list[str]:
        """Which of `clip_ids`, the clips that sources before the archives hold, count."""
        for clip_id in self.clips:
            if self.is_full:
                break
            if clip_id in clip_ids:
                self.chosen[clip_id] = None
        return [clip_id for clip_id in self.chosen if self.is_open(clip_id, BEFORE_ARCHIVES)]

    def take(self, key: str) -> list[str]:
        """The clips of an archive that count, once all archives before it were taken."""
        for clip_id in self._held.get(key, ()):
            if self.is_full:
                break
            self.chosen[clip_id] = None
        return [clip_id for clip_id in self._held.get(key, ()) if clip_id in self.chosen]

    def ahead(self) -> int | None:
        """Archives to be read at a time, so that a limit reads few too many; None for any number."""
        if self.limit is None:
            return None
        each = [len(clips) for clips in self._held.values()]
        if not any(each):
            return 1
        return max(1, math.ceil((self.limit - len(self.chosen)) * len(each) / sum(each)))

    def is_open(self, clip_id: str, group: int | None) -> bool:
        """Whether a clip is still to be made in the plan of a group of archives; None: in that of all sources."""
        if clip_id in self.done:
            return False
        failed = self.failed.get(clip_id)
        if failed is None or (failed.plan < self.first_plan and failed.outcome in self.retried):
            return True
        if failed.group is None or failed.outcome in NEVER_RETRIED:
            return False
        return self.other_sources if group is None else group > failed.group

    def holds_open(self, key: str, group: int) -> bool:
        """Whether an archive that was read holds clips that are still to be made."""
        return any(self.is_open(clip_id, group) for clip_id in self._held.get(key, ()))

    def holds(self, key: str, clip_ids: Collection[str]) -> bool:
        """Whether an archive that was read holds one of the clips."""
        return any(clip_id in clip_ids for clip_id in self._held.get(key, ()))

    def open_labels(self, group: int) -> set[str | None]:
        """The classes of the clips that are still to be made; None for clips that have none, or several."""
        return {clip.label for clip_id, clip in self.clips.items() if self.is_open(clip_id, group)}

    def rest(self) -> list[str]:
        """What is left, in order, for the plan of all sources: what failed, and what no archive holds."""
        held = {clip_id for clips in self._held.values() for clip_id in clips}
        elsewhere = [clip_id for clip_id in self.clips if clip_id not in held]
        left = None if self.limit is None else max(0, self.limit - len(self.chosen))
        wanted = {*self.chosen, *elsewhere[:left]}
        return [clip_id for clip_id in self.clips if clip_id in wanted and self.is_open(clip_id, None)]

    def finished(self, clips: Iterable[tuple[str, Failed | None]]) -> None:
        """Takes in the records of a plan: clip_id, and how it failed if it did."""
        for clip_id, failed in clips:
            if failed is None or failed.outcome in NEVER_RETRIED:
                self.done.add(clip_id)
                self.failed.pop(clip_id, None)
            else:
                self.failed[clip_id] = failed
