"""The cache's disk: what it holds, what is reserved for the work in flight, and what may be begun.

Bytes are reserved for everything that writes to the cache before it starts. A shard is opened only when there is room
for all its finished clips, and room for writing the largest shard is never given away, so what was begun can be ended;
downloads get what is left, and wait when that is too little.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.estimate import WHOLE_VIDEO_SECONDS, video_share
from kinetics_pipeline.plan import Plan, PlannedShard
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.executor import Executor, Lost, Moment, Ref
from kinetics_pipeline.workflows.runtime.progress import size

LEFT_FREE = 1 << 30
"""Bytes of the file system that are left to others, or a fiftieth of a small one."""
LOOK_EVERY, LOOK_SELDOM = 0.5, 10.0
"""Seconds between two looks: while room is short, and while there is plenty."""
JPEG_HEADERS = 700
"""Bytes of an image that do not depend on its size."""
PIXEL_BYTES = 0.35
"""Bytes of a pixel of RGB as JPEG at quality 90: twice the mean of real clips (0.19)."""
FLOW_SHARE = 0.5
"""Bytes of flow relative to RGB: likewise on the large side (0.36)."""
SECOND_OF_VIDEO = 200_000
"""Bytes of a second of a video whose short side is 256, on the large side: the first guess of a download."""
LARGEST_DOWNLOAD = 4 << 30
SHORT_AT_LEAST = 5.0
"""Seconds without anything in flight, and without room, after which no room is to be expected from this run."""


@dataclass(frozen=True)
class Needs:
    """What the work of some shards takes in the cache, in bytes, on the large side."""

    shard: int
    """The finished clips of the largest one."""
    download: int
    """The download of the longest clip; 0 where nothing is fetched."""
    clips: int
    """The clips of the shard with the most."""

    @property
    def least(self) -> int:
        """The bytes without which a build cannot go on: one shard, finished and written, and a download."""
        return 2 * self.shard + self.download


def needs(shards: Iterable[PlannedShard], recipe: Recipe) -> Needs:
    largest, most, longest = 0, 0, 0.0
    for shard in shards:
        largest = max(largest, rows(shard.clips, recipe, frame_bytes(recipe)))
        most = max(most, len(shard.clips))
        if not shard.local:
            longest = max(longest, *map(_seconds, shard.clips))
    return Needs(shard=largest, download=_download(longest, recipe), clips=most)


def needs_of(plan: Plan, recipe: Recipe) -> Needs:
    """What `needs` says of all shards of a plan, from its columns: no clip is made of a row."""
    if not len(plan):
        return needs((), recipe)
    begins, ends, local = (
        np.array(column) for column in zip(*((b, e, is_local) for _, is_local, b, e in plan.extents()), strict=True)
    )
    start, end = (plan.table[name].to_numpy() for name in ("time_start", "time_end"))
    seconds = np.nan_to_num(end - start, nan=WHOLE_VIDEO_SECONDS)
    bytes_ = np.ceil(np.maximum(1.0, seconds * recipe.fps) * frame_bytes(recipe)).astype(np.int64)
    longest = np.maximum.reduceat(seconds, begins)[~local].max(initial=0.0)
    return Needs(
        shard=int(np.add.reduceat(bytes_, begins).max()),
        download=_download(float(longest), recipe),
        clips=int((ends - begins).max()),
    )


def _download(seconds: float, recipe: Recipe) -> int:
    """Bytes of a video of so many seconds: the first guess."""
    return math.ceil(seconds * SECOND_OF_VIDEO * min(1.0, (recipe.short_side / 256) ** 2))


def rows(clips: Iterable[Clip], recipe: Recipe, a_frame: float) -> int:
    """Bytes of the finished clips, where a frame with its flow takes `a_frame`."""
    return sum(math.ceil(_frames(clip, recipe) * a_frame) for clip in clips)


@dataclass(frozen=True)
class CacheUsage:
    """What the cache of one node takes, and what its disk still has."""

    used: int
    """Bytes of this build's folders in the cache, without the archives."""
    free: int
    """Bytes that the file system still gives, without what is left to others."""
    archives: int = 0
    """Bytes of the archives from afar."""


def measured(folders: CacheFolders) -> CacheUsage:
    """What the cache of this node holds, and has to give."""
    usage = shutil.disk_usage(next(p for p in (folders.root, *folders.root.parents) if p.exists()))
    return CacheUsage(folders.bytes_used(), usage.free - min(LEFT_FREE, usage.total // 50), folders.archive_bytes())


class DiskExecutor(Executor, Protocol):
    """Runs `measured` on the nodes, and looks after their caches."""

    def start_measuring(self, node: str) -> Ref: ...

    def measured(self, ref: Ref) -> CacheUsage | Lost:
        """Waits for it where it has not ended."""

    def finished_clips(self) -> list[tuple[str, list[Record]]]:
        """The records, by node, of the clips that were finished and that no shard holds yet."""

    def clear(self, *, everything: bool) -> None:
        """Removes what a killed run left half-done on the nodes; `everything`: downloads and finished clips too.

        Raises UserError when the cache cannot be written.
        """


class Disk:
    """The fullest node's disk stands for all: clips are processed wherever there is a core."""

    def __init__(
        self,
        executor: DiskExecutor,
        recipe: Recipe,
        limit: int | None,
        *,
        notes: int = 0,
        archives: int = 0,
        max_wait: float = 5400.0,
    ) -> None:
        """`limit`: bytes that the cache may hold; None: what its disk gives. `notes`: bytes of the cache that are not
        in the build's folders, the notes of what lies where in tar files. `archives`: bytes that are left to archives
        from afar, those that are there included. `max_wait`: seconds to wait for room."""
        self.executor, self.recipe, self.max_wait = executor, recipe, max_wait
        self.archives, self.notes = archives, notes + archives
        notes = self.notes
        self.limit = None if limit is None else limit - notes
        self.short_since: float | None = None
        """Since when something has been waiting for room (monotonic); None when nothing is."""
        self._room_wanted = 0
        """The room that would have let it begin."""
        self._resting_since: float | None = None
        """Since when nothing was in flight and nothing could begin (monotonic)."""
        self._a_frame = frame_bytes(recipe)
        self._largest_shard = 0
        self._a_download = 0
        self._more: dict[str, int] = {}
        self._reserved: dict[Hashable, int] = {}
        self._unseen: list[tuple[float, int]] = []
        self._looks: dict[Ref, tuple[str, float]] = {}
        """Measurements under way: of which node, and when they began (monotonic)."""
        self._by_node: dict[str, tuple[CacheUsage, float]] = {}
        self._looked = -math.inf

    # What things take

    def rows(self, clips: Iterable[Clip]) -> int:
        """Bytes that the finished clips will take in the spool, on the large side."""
        return rows(clips, self.recipe, self._a_frame)

    def learn(self, frames: int, bytes_: int) -> None:
        """A clip was finished: what its rows took corrects the guess, where that was too small."""
        self._a_frame = max(self._a_frame, 1.1 * bytes_ / frames)

    def require(self, wanted: Needs) -> None:
        """Raises UserError when the limit, and WorkRemains when the disk, is too small for what the shards need.
        Looks at the disks, so that there is something to go by."""
        self._largest_shard, self._a_download = wanted.shard, wanted.download
        need = wanted.least
        self._begin_to_look()
        for ref in list(self._looks):
            self._take_look(ref)
        what = f"{size(need)}: a shard of up to {counted(wanted.clips, 'clip')}, finished and written, and a download"
        if self.limit is not None and need > self.limit:
            beside = f", beside {size(self.notes)} of archives and notes on them" if self.notes else ""
            raise UserError(f"--max-disk is {size(self.limit + self.notes)}; this build needs at least {what}{beside}")
        for seen, _ in self._by_node.values():
            if need > self._given(seen) + seen.used:
                has = size(max(0, self._given(seen)))
                raise WorkRemains(
                    f"the disk of the cache has {has} to give; this build needs at least {what}; "
                    "make room, or name another disk with --cache"
                )

    def beside(self, need: int) -> int:
        """Bytes that the fullest node can have in its cache beside `need`, when nothing else is there."""
        given = [seen.free + seen.archives + seen.used for seen, _ in self._by_node.values()]
        return min(given if self.limit is None else [*given, self.limit], default=1 << 60) - need

    # What may begin

    def room(self) -> int:
        """Free bytes that are not reserved."""
        free = min((self._free(seen) for seen, _ in self._by_node.values()), default=1 << 60)
        return free - sum(self._reserved.values()) - sum(amount for _, amount in self._unseen)

    def _free(self, seen: CacheUsage) -> int:
        free = self._given(seen)
        return free if self.limit is None else min(free, self.limit - seen.used)

    def _given(self, seen: CacheUsage) -> int:
        """What the file system gives, without what archives on their way will take."""
        return seen.free - max(0, self.archives - seen.archives)

    def opens(self, shard: PlannedShard, still_to_come: int) -> bool:
        """Whether there is room for the clips of one more shard; `still_to_come` is due to those that are open. What a
        download takes is never given away either: without one no shard would come to its end."""
        kept = still_to_come + self._largest_shard + max([self._a_download, *self._more.values()])
        return self.rows(shard.clips) <= self.room() - kept

    def download(self, video_id: str, still_to_come: int) -> int | None:
        """The bytes that a download may write, or None when it has to wait."""
        least = max(self._a_download, self._more.get(video_id, 0))
        left = self.room() - still_to_come - self._largest_shard
        if left < least:
            self._wait(least + still_to_come + self._largest_shard)
            return None
        self.short_since = None
        return min(LARGEST_DOWNLOAD, max(least, left // 4))

    def clip(self, clip: Clip) -> bool:
        """Whether a clip may be made now."""
        wanted = self.rows([clip]) + self._largest_shard
        if wanted <= self.room():
            self.short_since = None
            return True
        self._wait(wanted)
        return False

    def write(self, rows: int, *, only: bool) -> bool:
        """Whether a shard of so many bytes may be written now; `only`: it would be the only one."""
        if only or rows <= self.room():
            return True
        self._wait(rows)
        return False

    def was_too_small(self, video_id: str, allowance: int) -> None:
        """A download came to the end of its allowance, and will need more."""
        self._more[video_id] = 2 * allowance

    def impossible_downloads(self) -> set[str]:
        """Videos whose downloads need more than the cache can ever give. What came of them is of use to a run with
        more room."""
        most = self.beside(self._largest_shard)
        return {video_id for video_id, more in self._more.items() if more > most}

    def was_enough(self, video_id: str) -> None:
        """A download is complete."""
        self._more.pop(video_id, None)

    def _wait(self, room: int) -> None:
        self.short_since = self.short_since or self._now()
        self._room_wanted = room

    def _now(self) -> float:
        return self.executor.now().monotonic

    def is_stuck(self, now: Moment) -> bool:
        """Asked while nothing is in flight: whether something has waited `SHORT_AT_LEAST` seconds for room. After a yes
        the seconds are counted from zero again."""
        if self.short_since is not None and self.room() >= self._room_wanted:
            self.short_since = None  # nobody has asked since: what waited for room waits for its source as well
        if self.short_since is None or self._unseen:
            self._resting_since = None
            return False
        if self._resting_since is None:
            self._resting_since = now.monotonic
        if now.monotonic - self._resting_since <= SHORT_AT_LEAST:
            return False
        self._resting_since = None
        return True

    def require_possible(self, now: Moment) -> None:
        """Called when it is stuck. Raises JobFailed if the user's limit leaves no room, and WorkRemains if the disk
        has had no room for longer than `--max-wait`."""
        if self.limits:
            raise JobFailed(self.why_short())
        if self.short_since is not None and now.monotonic - self.short_since > self.max_wait:
            raise WorkRemains(self.why_short())

    def why_short(self) -> str:
        """One line on what there is not enough of."""
        used = max((seen.used for seen, _ in self._by_node.values()), default=0)
        free = min((seen.free for seen, _ in self._by_node.values()), default=0)
        if self.limits:
            held, limit = used + self.notes, (self.limit or 0) + self.notes
            need = limit + self._room_wanted - self.room()
            return f"the cache holds {size(held)} of --max-disk {size(limit)}; {size(need)} would let it go on"
        need = max(0, free + self._room_wanted - self.room())
        return f"the disk of the cache has {size(max(0, free))} to give; {size(need)} would let it go on"

    def fullest(self) -> tuple[int, int, int | None] | None:
        """Bytes used, free and allowed (None: no limit) on the fullest node; None before the first look."""
        if not self._by_node:
            return None
        used = max(seen.used for seen, _ in self._by_node.values()) + self.notes
        free = max(0, min(seen.free for seen, _ in self._by_node.values()))
        return used, free, None if self.limit is None else self.limit + self.notes

    @property
    def limits(self) -> bool:
        """Whether it is the user's limit that leaves no room, which no waiting changes."""
        return self.limit is not None and all(self.limit - s.used <= s.free for s, _ in self._by_node.values())

    # Promises

    def promise(self, to: Hashable, amount: int) -> None:
        self._reserved[to] = amount
        self._resting_since = None

    def settle(self, to: Hashable) -> int:
        """What was reserved for has been written, or never will be: the next look knows. The amount."""
        amount = self._reserved.pop(to, 0)
        self._unseen.append((self._now(), amount))
        return amount

    # Looking

    def look(self) -> None:
        """Takes in what the nodes measured, and asks them again when it is time."""
        for ref in self.executor.wait(list(self._looks), 0.0) if self._looks else ():
            self._take_look(ref)
        plenty = self.short_since is None and self.room() > 20 * (self._largest_shard + self._a_download)
        if not self._looks and self._now() - self._looked > (LOOK_SELDOM if plenty else LOOK_EVERY):
            self._begin_to_look()

    def _begin_to_look(self) -> None:
        self._looked = self._now()
        for node in self.executor.nodes():
            self._looks[self.executor.start_measuring(node)] = (node, self._looked)

    def _take_look(self, ref: Ref) -> None:
        node, began = self._looks.pop(ref)
        found = self.executor.measured(ref)
        if not isinstance(found, Lost):
            self._by_node[node] = (found, began)
        alive = self.executor.nodes()
        self._by_node = {name: seen for name, seen in self._by_node.items() if name in alive}
        oldest = min((began for _, began in self._by_node.values()), default=-math.inf)
        self._unseen = [(when, amount) for when, amount in self._unseen if when > oldest]


def frame_bytes(recipe: Recipe) -> float:
    """Bytes of one stored frame with its flow, on the large side for what pictures usually hold."""
    pixels = recipe.short_side**2 * 16 / 9
    flow = recipe.flow != "none"
    if recipe.layout == "array":
        return pixels * (5 if flow else 3)
    at_quality = 1 if recipe.rgb_quality <= 90 else 2
    jpeg = pixels * PIXEL_BYTES * at_quality + JPEG_HEADERS
    rgb = jpeg * min(1.0, 1.5 * video_share(recipe)) if recipe.layout == "video" else jpeg
    return rgb + jpeg * FLOW_SHARE + JPEG_HEADERS if flow else rgb


def _seconds(clip: Clip) -> float:
    if clip.time_start is None or clip.time_end is None:
        return WHOLE_VIDEO_SECONDS
    return clip.time_end - clip.time_start


def _frames(clip: Clip, recipe: Recipe) -> float:
    return max(1.0, _seconds(clip) * recipe.fps)
