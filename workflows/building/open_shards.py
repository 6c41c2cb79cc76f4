"""The shards that are in hand, and their clips: a bounded number of a plan's shards, local ones and others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from kinetics_pipeline.plan import Plan, PlannedShard
from kinetics_pipeline.records import Clip, Record
from kinetics_pipeline.workflows.building.disk import Disk

AT_ONCE = 8
"""Shards at work at a time, of local files and of the network each."""
LOCAL, NETWORK = 0, 1
"""The two walks over a plan's shards."""


@dataclass
class InHand:
    """A clip of an open shard."""

    clip: Clip
    label: int
    shard: str
    requests: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    record: Record | None = None
    home: str = ""
    """The node that has its encoded rows."""
    lost: int = 0
    on_network: bool = False
    """Whether it waits for a network source, or for a later try there."""


@dataclass(eq=False)
class Open:
    """A shard that is not committed."""

    name: str
    hands: list[InHand]
    lost: int = 0
    """Times that it was being written when its writer or node went away."""

    @property
    def unfinished(self) -> int:
        return sum(hand.record is None for hand in self.hands)

    @property
    def waits_for_network(self) -> bool:
        """Whether only clips that wait for the network are missing."""
        return all(hand.on_network for hand in self.hands if hand.record is None)


class OpenShards:
    """Walks a plan's missing shards, those of local files and the others side by side."""

    def __init__(self, plan: Plan, missing: Sequence[str], label_of: Callable[[Clip], int], disk: Disk) -> None:
        self.clips: dict[str, InHand] = {}
        self._label_of, self._disk = label_of, disk
        self._walks = [_shards(plan, set(missing), local=local) for local in (True, False)]
        self._open: list[dict[str, Open]] = [{}, {}]

    def __iter__(self) -> Iterator[Open]:
        return itertools.chain(*(list(walk.values()) for walk in self._open))

    def of(self, hand: InHand) -> Open:
        return next(walk[hand.shard] for walk in self._open if hand.shard in walk)

    def open_next(self, walk: int, being_made: Collection[str]) -> Open | None:
        """The next shard of a walk; None when there is none, or no room for it now.

        A local shard that only waits for the network (a file was broken, and another source may have it) does not
        count: local work never waits for a network.
        """
        at_work = sum(not (walk == LOCAL and shard.waits_for_network) for shard in self._open[walk].values())
        following = next(self._walks[walk], None) if at_work < AT_ONCE else None
        if following is None:
            return None
        if self.clips and not self._disk.opens(following, self.still_to_come(being_made)):
            self._walks[walk] = itertools.chain([following], self._walks[walk])
            return None
        hands = [InHand(clip, self._label_of(clip), following.name) for clip in following.clips]
        self.clips |= {hand.clip.clip_id: hand for hand in hands}
        shard = self._open[walk][following.name] = Open(following.name, hands)
        return shard

    def close(self, shard: Open) -> None:
        for walk in self._open:
            walk.pop(shard.name, None)
        for hand in shard.hands:
            del self.clips[hand.clip.clip_id]

    def still_to_come(self, being_made: Collection[str]) -> int:
        """Bytes that unfinished clips will take in the cache, beyond those that are `being_made`."""
        return self._disk.rows(
            hand.clip for name, hand in self.clips.items() if hand.record is None and name not in being_made
        )

    def finished_videos(self) -> set[str]:
        """The videos that were fetched and that no unfinished clip needs."""
        needed = {hand.clip.video_id for hand in self.clips.values() if hand.record is None}
        return {hand.clip.video_id for hand in self.clips.values() if "fetch" in hand.seconds} - needed


def _shards(plan: Plan, missing: set[str], *, local: bool) -> Iterator[PlannedShard]:
    return (shard for shard in plan.shards() if shard.name in missing and shard.local == local)
