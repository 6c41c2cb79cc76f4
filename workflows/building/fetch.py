"""Fetching: the downloads of one video on a node, then which video the driver has fetched next, and where."""

from __future__ import annotations

import queue
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, NetworkSource, is_signal
from kinetics_pipeline.sources.canary import Canary
from kinetics_pipeline.sources.child_process import KillableChild
from kinetics_pipeline.sources.pace.breaker import is_unreachable
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.executor import Executor, Lost, Moment, Ref
from kinetics_pipeline.workflows.building.lanes import Lane, Lanes

PROBE = 8 << 20
"""Bytes that asking the canary may write: a file's index."""
Downloaded = tuple[str, str]
"""Name of a source and id of a video, whose files lie in the cache."""


@dataclass(frozen=True)
class FetchJob:
    """All wanted clips of one video, asked in one go."""

    source_key: str
    source: NetworkSource
    video_id: str
    clips: tuple[Clip, ...]
    """None for a canary, of which nothing is kept."""
    time_limit: float
    """Seconds."""
    allowance: int
    """Bytes that may be written."""


@dataclass(frozen=True)
class Fetched:
    """What a source answered, and where the files lie that it gave."""

    download: Download
    node: str
    seconds: float


# On the node


class Fetcher:
    """The downloads of one node, each in a child process that can be killed, at most `slots` at a time."""

    def __init__(self, folders: CacheFolders, node: str, slots: int) -> None:
        self.folders, self.node = folders, node
        # The last one first: it is running, and keeps connections and the guest session of its last video.
        self.children: dict[bool, queue.LifoQueue[KillableChild]] = {False: queue.LifoQueue(), True: queue.LifoQueue()}
        """Whether they have the credentials of object stores -> the child processes that are free."""
        for _ in range(slots):
            for credentials, children in self.children.items():
                children.put(KillableChild(credentials=credentials))

    def fetch(self, job: FetchJob) -> Fetched:
        """Never raises for what a source or a network does."""
        started = time.monotonic()
        folder = self.folders.video(job.source.name, job.video_id)
        folder.mkdir(parents=True, exist_ok=True)
        children = self.children[job.source.uses_credentials]
        child = children.get()
        try:
            download = child.download(job.source, job.video_id, job.clips, folder, job.time_limit, job.allowance)
        finally:
            children.put(child)
        return Fetched(download, self.node, time.monotonic() - started)

    def forget(self, downloads: Sequence[Downloaded]) -> None:
        """Removes downloads that are no longer needed."""
        forget_downloads(self.folders, downloads)


def forget_downloads(folders: CacheFolders, downloads: Sequence[Downloaded]) -> None:
    """Removes downloads that are no longer needed from this node."""
    for source, video_id in downloads:
        shutil.rmtree(folders.video(source, video_id), ignore_errors=True)


# In the driver


class FetchExecutor(Executor, Protocol):
    """Runs `Fetcher` on the nodes."""

    def start_fetch(self, job: FetchJob, node: str) -> Ref: ...

    def fetched(self, ref: Ref) -> Fetched | Lost: ...

    def forget_downloads(self, downloads: Sequence[Downloaded]) -> None:
        """Begins to remove them, on whichever node they lie."""


@dataclass(frozen=True)
class FetchAnswer:
    """What became of a job."""

    job: FetchJob
    result: Fetched | Lost
    doubted: frozenset[str] = frozenset()
    """Videos whose latest failures, with this one, were a burst or an outage, and so none of theirs."""
    lane: str = ""
    """Name of the lane that it went through."""

    @property
    def is_refused(self) -> bool:
        """Whether it says nothing of the video."""
        failure = self.result.download.failure if isinstance(self.result, Fetched) else None
        return failure is not None and (is_signal(failure.outcome) or is_unreachable(failure))


class Fetching:
    """Gives the nodes their videos, as fast as the lanes allow."""

    def __init__(self, executor: FetchExecutor, lanes: Lanes, disk: Disk) -> None:
        self.executor, self.lanes, self.disk = executor, lanes, disk
        self.slots = lanes.pace.slots
        self.running: dict[Ref, tuple[FetchJob, Lane]] = {}
        self.started: dict[Ref, float] = {}
        """When they were started (monotonic)."""

    def dispatch(self, most: int, allowance: Callable[[str], int | None], now: Moment) -> None:
        """Starts what the lanes grant now, at most `most` videos, so that downloads do not pile up. `allowance`: the
        bytes that a video may write to the cache; None when it has to wait for room."""
        self.lanes.follow_nodes(now)
        for key, lane in self.lanes:
            canary = self.lanes.canary(key, lane, now)
            if canary is not None:
                lane.is_asking = True
                limit = self.lanes.pace.time_limit
                job = FetchJob(key, Canary(lane.source.for_clips([canary]), canary), canary.video_id, (), limit, PROBE)
                self._begin(job, lane)
            while lane.doubt.canary_due is None and lane.waiting and most > 0 and lane.in_flight < lane.at_once:
                video_id = next(iter(lane.waiting))
                allowed = allowance(video_id)
                if allowed is None:
                    return
                if not self.lanes.grants(key, lane, video_id, now):
                    break
                self._start(key, lane, allowed)
                most -= 1

    def _start(self, key: str, lane: Lane, allowed: int) -> None:
        video_id, clips = lane.waiting.popitem(last=False)
        source = lane.source.for_clips(clips)
        self._begin(FetchJob(key, source, video_id, tuple(clips), self.lanes.pace.time_limit, allowed), lane)

    def _begin(self, job: FetchJob, lane: Lane) -> None:
        ref = self.executor.start_fetch(job, lane.node or self._node(job.video_id))
        self.disk.promise(ref, job.allowance)
        self.running[ref] = (job, lane)
        self.started[ref] = self.executor.now().monotonic
        lane.in_flight += 1

    def _node(self, video_id: str) -> str:
        """The node of a video: the same one in every run, because partial downloads lie there."""
        alive = list(self.executor.nodes())
        return alive[zlib.crc32(video_id.encode()) % len(alive)]

    def result(self, ref: Ref, now: Moment) -> FetchAnswer:
        """What became of a download that has ended."""
        job, lane = self.running.pop(ref)
        self.started.pop(ref, None)
        lane.in_flight -= 1
        self.disk.settle(ref)
        result = self.executor.fetched(ref)
        canary = job.source.clip if isinstance(job.source, Canary) else None
        if isinstance(result, Lost):
            self.lanes.follow_nodes(now, at_once=True)
        elif result.download.no_room and canary is None:
            self.disk.was_too_small(job.video_id, job.allowance)
        elif canary is None:
            self.disk.was_enough(job.video_id)
        if isinstance(result, Lost) or result.download.no_room:
            if canary is not None:
                self.lanes.canary_lost(lane)
            return FetchAnswer(job, result, lane=lane.name)
        if canary is not None:
            heard = self.lanes.canary_answered(lane, canary, result.download, now)
        else:
            heard = self.lanes.answered(lane, job.clips[0], result.download, now)
        result = replace(result, download=replace(result.download, failure=heard.failure))
        return FetchAnswer(job, result, heard.doubted, lane.name)

    def forget(self, videos: Iterable[str]) -> None:
        """Removes the downloads of videos, of whichever source they are."""
        names = sorted({lane.source.name for _, lane in self.lanes})
        if downloads := [(name, video) for name in names for video in videos]:
            self.executor.forget_downloads(downloads)
