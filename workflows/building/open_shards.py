"""The shards that are being worked on, and their clips: a bounded number of a plan's shards, local ones and others."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from kinetics_pipeline.records import Clip
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.plan_run import FinishedClip, PlanRun

AT_ONCE = 8
"""Shards at work at a time, of local files and of the network each."""
LOCAL, NETWORK = 0, 1
"""The two walks over a plan's shards."""


@dataclass(eq=False)
class ClipInProgress:
    """A clip of an open shard, with what it took so far."""

    clip: Clip
    shard: OpenShard
    requests: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    """Times in a row that the work on it vanished."""
    on_network: bool = False
    """Whether it waits for a network source, or for a later try there."""

    @property
    def is_finished(self) -> bool:
        return self.clip.clip_id in self.shard.finished


@dataclass(eq=False)
class OpenShard:
    """A shard that is not committed."""

    name: str
    clips: list[Clip]
    finished: dict[str, FinishedClip] = field(default_factory=dict)
    """The clips that have an outcome, by clip_id."""

    @property
    def is_full(self) -> bool:
        return len(self.finished) == len(self.clips)


class OpenShards:
    """Walks a plan's missing shards, those of local files and the others side by side."""

    def __init__(self, run: PlanRun, disk: Disk) -> None:
        self.clips: dict[str, ClipInProgress] = {}
        """The clips of all open shards, by clip_id."""
        self._disk = disk
        missing = set(run.missing)
        self._walks = [run.plan.shards(missing, local=local) for local in (True, False)]
        self._open: list[dict[str, OpenShard]] = [{}, {}]

    def __iter__(self) -> Iterator[OpenShard]:
        return itertools.chain(*(list(walk.values()) for walk in self._open))

    def open_next(self, walk: int, being_made: Collection[str]) -> OpenShard | None:
        """The next shard of a walk; None when there is none, or no room for it now.

        A local shard that only waits for the network (a file was broken, and another source may have it) does not
        count: local work never waits for a network.
        """
        at_work = sum(not (walk == LOCAL and self._waits_for_network(shard)) for shard in self._open[walk].values())
        following = next(self._walks[walk], None) if at_work < AT_ONCE else None
        if following is None:
            return None
        if self.clips and not self._disk.opens(following, self.still_to_come(being_made)):
            self._walks[walk] = itertools.chain([following], self._walks[walk])
            return None
        shard = self._open[walk][following.name] = OpenShard(following.name, following.clips)
        self.clips |= {clip.clip_id: ClipInProgress(clip, shard) for clip in shard.clips}
        return shard

    def _waits_for_network(self, shard: OpenShard) -> bool:
        """Whether only clips that wait for the network are missing."""
        return all(clip.clip_id in shard.finished or self.clips[clip.clip_id].on_network for clip in shard.clips)

    def close(self, shard: OpenShard) -> None:
        """Takes out a shard that is committed."""
        for walk in self._open:
            walk.pop(shard.name, None)
        for clip in shard.clips:
            del self.clips[clip.clip_id]

    def still_to_come(self, being_made: Collection[str], only: OpenShard | None = None) -> int:
        """Bytes that unfinished clips (of one shard, where it is given) will take in the cache, beyond those that are
        `being_made`."""
        return self._disk.rows(
            clip
            for shard in self
            if only in (None, shard) and not shard.is_full
            for clip in shard.clips
            if clip.clip_id not in shard.finished and clip.clip_id not in being_made
        )

    def finished_videos(self) -> set[str]:
        """The videos that were fetched and that no unfinished clip needs."""
        needed = {one.clip.video_id for one in self.clips.values() if not one.is_finished}
        return {one.clip.video_id for one in self.clips.values() if "fetch" in one.seconds} - needed
