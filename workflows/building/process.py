"""Processing: one clip on a node from its file to its encoded rows, then which clips the driver has on the cores."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kinetics_pipeline.clip import ClipResult, process_clip
from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.recipe import Recipe, uses_gpu
from kinetics_pipeline.records import Clip, Record, Spent
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.sources.local.tars import unpack
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.video.container import BrokenVideo
from kinetics_pipeline.video.segment import cut_segment, segment_name
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.executor import Executor, Lost, Moment, Ref
from kinetics_pipeline.workflows.building.nodes import Located, bring, this_node, unpack_there
from kinetics_pipeline.workflows.building.resources import STARTS_WITHIN
from kinetics_pipeline.workflows.runtime.progress import duration

LOOK_EVERY, LOOK_SOON = 15.0, 1.0
"""Seconds between two looks at the size of the cluster; the shorter one while nothing is there that makes clips."""


@dataclass(frozen=True)
class Candidate:
    """A file that may hold a clip."""

    media: Media
    node: str
    """The node where a download lies. A local source's files are seen by every node; then the driver's node, where
    the notes on its archives lie."""
    fetched: bool
    """Whether it is a download."""


@dataclass(frozen=True)
class ClipJob:
    """A clip whose frames can be made now."""

    clip: Clip
    source_key: str
    """The source that the candidates come from."""
    candidates: tuple[Candidate, ...]
    label: int
    """Class number."""
    spent: Spent
    """What the clip took so far; it goes into the record."""
    recipe: Recipe
    time_limit: float
    """Seconds."""
    keep: str | None
    """The place where its segment is kept as mp4, before the clip counts as done."""

    @property
    def node(self) -> str | None:
        """The node that has the archive which holds the clip; None where it matters not."""
        inside = self.candidates[0].media.inside
        return inside.node if inside is not None else None


@dataclass(frozen=True)
class Processed:
    """A clip with its outcome; when that is `ok`, its rows are in the spool of `node`."""

    record: Record
    node: str
    bytes: int
    """Bytes of its rows."""


# On the node


def get_ready() -> None:
    """Has the process import what a clip needs, so that its first one does not wait for that."""
    from kinetics_pipeline.shards import clip_rows, repeats  # noqa: F401


def process(folders: CacheFolders, job: ClipJob) -> Processed | Lost:
    """One clip from its file to its encoded rows in this node's spool. Never raises for a bad clip.

    A clip that is in the spool is done: Ray repeats a task whose node went between the work and the word of it.
    """
    spool = Spool(folders.spool)
    if (kept := spool.get(job.clip.clip_id)) is not None:
        return Processed(kept[0], this_node(), len(kept[1]))
    with folders.scratch_folder() as scratch:
        media = _media_here(job.candidates, scratch)
        if isinstance(media, Lost):
            return media
        done = process_clip(job.clip, media, job.recipe, job.label, decode_timeout=job.time_limit)
        if done.outcome == "ok" and job.keep is not None:
            done = _keep_segment(done, job.clip, job.keep, scratch, job.time_limit)
    details = (job.spent.detail, done.detail) if done.outcome == "ok" else (done.detail,)
    record = Record.of(
        job.clip,
        done.outcome,
        "; ".join(filter(None, details)),
        replace(job.spent, seconds={**job.spent.seconds, **done.seconds}),
        source=done.source,
        frames=done.frames,
        facts=done.facts,
    ).at(time.time())
    if done.outcome == "ok":
        spool.put(record, done.payload)
    return Processed(record, this_node(), len(done.payload))


def _media_here(candidates: Sequence[Candidate], scratch: Path) -> list[Media] | Lost:
    """The candidates as files on this node; those whose node no longer has them are left out."""
    media = []
    gone = False
    for number, candidate in enumerate(candidates):
        path, sound = candidate.media.path, candidate.media.sound
        if candidate.media.inside is not None:
            try:
                path = _unpacked(candidate, scratch / str(number))
            except OSError as error:
                if isinstance(error, FileNotFoundError) and candidate.media.inside.node is not None:
                    gone = True
                    continue
                return Lost(f"{path.name} cannot be read on its node: {error.strerror or type(error).__name__}")
        if candidate.fetched:
            try:
                path = bring(Located(path, candidate.node), scratch)
                sound = bring(Located(sound, candidate.node), scratch) if sound else None
            except FileNotFoundError:
                continue
        media.append(replace(candidate.media, path=path, sound=sound))
    return media or Lost("the archive or download went with its node", archive_gone=gone)


def _unpacked(candidate: Candidate, scratch: Path) -> Path:
    """A video of an archive as a file in the new folder `scratch`. Raises OSError."""
    inside = candidate.media.inside
    assert inside is not None
    scratch.mkdir()
    if inside.node is not None and inside.node != this_node() and not candidate.media.path.exists():
        return unpack_there(inside.node, candidate.media, scratch)
    points = inside.points
    if points is not None:
        points = bring(Located(points, candidate.node), scratch)
    return unpack(candidate.media, scratch, points)


def _keep_segment(done: ClipResult, clip: Clip, keep: str, scratch: Path, time_limit: float) -> ClipResult:
    """Keeps the clip's segment; a clip whose segment cannot be made is not done, one without its sound is."""
    assert done.media is not None
    began = time.monotonic()
    file, silent = scratch / "segment.mp4", done.media.silent
    try:
        try:
            _cut(done.media, clip, file, time_limit)
        except BrokenVideo as error:
            if done.media.sound is None:
                raise
            _cut(replace(done.media, sound=None), clip, file, time_limit)
            silent = f"with it {error}"
    except (BrokenVideo, TimeoutError) as error:
        return replace(done, outcome="internal", detail=f"its segment could not be cut: {error}", payload=b"")
    open_store(keep).upload(file, segment_name(clip))
    detail = "; ".join(filter(None, (done.detail, f"kept without sound: {silent}" if silent else "")))
    return replace(done, detail=detail, seconds={**done.seconds, "keep": round(time.monotonic() - began, 3)})


def _cut(media: Media, clip: Clip, to: Path, time_limit: float) -> None:
    start, end = clip.time_start, clip.time_end
    sound, aspect = media.sound, media.aspect
    cut_segment(media.path, start, end, to, offset=media.offset, aspect=aspect, sound=sound, timeout=time_limit)


# In the driver


class ClipExecutor(Executor, Protocol):
    """Runs `process` on the cores, or on the GPUs."""

    def places(self) -> int:
        """Clips that can be worked on at a time now. 0 while no GPU is there that is needed; otherwise at least 1."""

    def start_clip(self, job: ClipJob) -> Ref: ...

    def cancel(self, ref: Ref, reason: str) -> None:
        """Ends work; it comes back as lost for this reason, unless it ended first."""

    def processed(self, ref: Ref) -> Processed | Lost:
        """Raises UserError or JobFailed for what would befall every clip, as a full disk does."""


class Processing:
    """Feeds the cluster's cores with a little more than they can hold, so that none waits for the driver."""

    def __init__(
        self, executor: ClipExecutor, recipe: Recipe, disk: Disk, *, time_limit: float, keep: str | None = None
    ) -> None:
        self.executor, self.recipe, self.disk = executor, recipe, disk
        self.time_limit, self.keep = time_limit, keep
        self.waiting: deque[ClipJob] = deque()
        self.running: dict[Ref, tuple[ClipJob, float]] = {}
        """Jobs with when they were started (monotonic)."""
        self.places = 1
        self.none_since: float | None = None
        """Since when there has been no place at all (monotonic)."""
        self._looked = -math.inf

    def add(self, clip: Clip, label: int, source_key: str, candidates: Sequence[Candidate], spent: Spent) -> None:
        """Puts a clip at the end of those that wait for a core."""
        self.waiting.append(
            ClipJob(clip, source_key, tuple(candidates), label, spent, self.recipe, self.time_limit, self.keep)
        )

    def dispatch(self, now: Moment) -> None:
        """Starts what there is room for, and ends what has outlasted its limit twice over.

        Raises WorkRemains when clips have waited longer than `--max-wait` for a GPU to come.
        """
        self._look(now)
        room = 0 if self.none_since is not None else self.places + self._spare()
        while self.waiting and len(self.running) < room:
            if not self.disk.clip(self.waiting[0].clip):
                break
            job = self.waiting.popleft()
            ref = self.executor.start_clip(job)
            self.running[ref] = (job, now.monotonic)
            unpacked = sum(one.media.inside.size for one in job.candidates if one.media.inside)
            self.disk.promise(ref, self.disk.rows([job.clip]) + unpacked)
        for ref, (_, started) in self.running.items():
            # The stage has limits of its own; this one is for a process that no longer obeys them. A job may first
            # have waited for another to leave its core.
            if now.monotonic - started > 2 * self.time_limit + 60:
                self.executor.cancel(ref, f"took more than {self.time_limit:.0f} s")

    def _look(self, now: Moment) -> None:
        if now.monotonic - self._looked <= (LOOK_EVERY if self.none_since is None else LOOK_SOON):
            return
        places = self.executor.places()
        self._looked, self.places = now.monotonic, max(1, places)
        if places or not self.waiting:
            self.none_since = None if places else now.monotonic
            return
        self.none_since = now.monotonic if self.none_since is None else self.none_since
        if now.monotonic - self.none_since > max(self.disk.max_wait, STARTS_WITHIN) and not self.running:
            raise WorkRemains(f"no GPU has been there for {duration(now.monotonic - self.none_since)} (--max-wait)")

    def result(self, ref: Ref) -> tuple[ClipJob, Processed | Lost]:
        """What became of a job that has ended."""
        job, _ = self.running.pop(ref)
        self.disk.settle(ref)
        result = self.executor.processed(ref)
        if isinstance(result, Lost):
            self._looked = -math.inf  # its node may be gone
        return job, result

    @property
    def backlog(self) -> int:
        return len(self.waiting) + len(self.running)

    @property
    def fetched_backlog(self) -> int:
        """The number of clips of the backlog that were fetched from a network: their downloads lie in the cache."""
        jobs = [*self.waiting, *(job for job, _ in self.running.values())]
        return sum(job.candidates[0].fetched for job in jobs)

    def _spare(self) -> int:
        return 0 if uses_gpu(self.recipe) else max(1, self.places // 4)
