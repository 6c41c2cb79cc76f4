"""Writing: a shard on a node from the rows of its clips, then which full shard the driver has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.shards.writer import Superseded, write_shard
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.executor import Executor, Lost, Ref
from kinetics_pipeline.workflows.building.lease import LeaseHeld, is_current
from kinetics_pipeline.workflows.building.nodes import Located, bring
from kinetics_pipeline.workflows.building.open_shards import OpenShard
from kinetics_pipeline.workflows.building.plan_run import FinishedClip, PlanRun

LOST_AT_MOST = 3
"""Times that the writer of a shard may vanish."""


@dataclass(frozen=True)
class WriteJob:
    """A shard all of whose clips have an outcome."""

    uri: str
    """The dataset's."""
    plan: str
    shard: str
    clips: tuple[FinishedClip, ...]
    """The clips in the plan's order."""
    recipe: Recipe
    classes: tuple[str, ...]
    generation: int
    """The lease's."""
    archive_group: int | None = None
    """The plan's."""


@dataclass(frozen=True)
class Committed:
    """The shard is in the dataset."""

    bytes: int = 0
    """Bytes of its data file."""


@dataclass(frozen=True)
class RowsMissing:
    """The rows of some clips are gone with their node, or damaged; nothing was written."""

    clip_ids: tuple[str, ...]


@dataclass(frozen=True)
class TakenOver:
    """A later build holds the lease; nothing was committed."""


Written = Committed | RowsMissing | TakenOver


# On the node


def write(folders: CacheFolders, job: WriteJob) -> Written | Lost:
    """A shard from the rows of its clips, which lie in the spools of the nodes that made them."""
    with folders.scratch_folder() as scratch:
        try:
            return _write(folders, job, scratch)
        except FileNotFoundError:
            if scratch.exists():
                raise
            return Lost("its folder in the cache was removed by another build")


def _write(folders: CacheFolders, job: WriteJob, scratch: Path) -> Written:
    store, spool = open_store(job.uri), Spool(folders.spool)
    missing = [clip.record.clip_id for clip in job.clips if not _rows_are_here(clip, spool, scratch)]
    if missing:
        return RowsMissing(tuple(missing))
    clips = ((clip.record, _rows(clip.record, spool, Spool(scratch))) for clip in job.clips)
    try:
        return commit_shard(store, job, clips, scratch, lambda: is_current(store, job.generation))
    except _Damaged as error:
        return RowsMissing((error.clip_id,))


def commit_shard(
    store: Store,
    job: WriteJob,
    clips: Iterable[tuple[Record, bytes]],
    scratch: Path,
    still_current: Callable[[], bool],
) -> Committed | TakenOver:
    """Writes a shard from the records and rows of its clips, in the plan's order."""
    try:
        marker = write_shard(
            store,
            name=job.shard,
            plan=(job.plan, job.archive_group),
            clips=clips,
            recipe=job.recipe,
            classes=job.classes,
            scratch=scratch,
            still_current=still_current,
        )
    except Superseded:
        return TakenOver()
    return Committed(marker["bytes"])


class _Damaged(Exception):
    def __init__(self, clip_id: str) -> None:
        super().__init__(clip_id)
        self.clip_id = clip_id


def _rows_are_here(clip: FinishedClip, spool: Spool, scratch: Path) -> bool:
    """Whether a clip's rows, if it has any, are on this node now: in its spool, or copied to `scratch`."""
    if clip.node is None:
        return True
    try:
        bring(Located(spool.path(clip.record.clip_id), clip.node), scratch)
    except FileNotFoundError:
        return False
    return True


def _rows(record: Record, *spools: Spool) -> bytes:
    if record.outcome != "ok":
        return b""
    for spool in spools:
        if found := spool.get(record.clip_id):
            return found[1]
    raise _Damaged(record.clip_id)  # `get` has removed the damaged file


# In the driver


class WriteExecutor(Executor, Protocol):
    """Runs `write` on a node."""

    def start_write(self, job: WriteJob, near: str | None) -> Ref:
        """`near`: the node where most of the rows lie; None where there are none."""

    def written(self, ref: Ref) -> Written | Lost: ...

    def forget_rows(self, node: str, clip_ids: Sequence[str]) -> None:
        """Begins to remove the rows of clips that a shard now holds."""


class Writing:
    """The shards that are being written."""

    def __init__(self, executor: WriteExecutor, run: PlanRun, disk: Disk) -> None:
        self.executor, self.run, self.disk = executor, run, disk
        self.running: dict[Ref, tuple[OpenShard, float]] = {}
        """Shards with when their writer was started (monotonic)."""
        self._lost: Counter[str] = Counter()

    def start_if_there_is_room(self, shard: OpenShard) -> None:
        """Has a shard written whose clips all have an outcome, unless the cache has no room for it now."""
        if self.disk.write(self._bytes(shard), only=not self.running):
            self._start(shard)

    def is_running(self, shard_name: str) -> bool:
        return any(shard.name == shard_name for shard, _ in self.running.values())

    def _start(self, shard: OpenShard) -> None:
        run = self.run
        clips = tuple(shard.finished[clip.clip_id] for clip in shard.clips)
        nodes = Counter(clip.node for clip in clips if clip.node is not None)
        near = max(nodes, key=nodes.__getitem__, default=None)
        job = WriteJob(
            run.uri,
            run.plan_name,
            shard.name,
            clips,
            run.recipe,
            tuple(run.classes),
            run.generation,
            run.plan.archive_group,
        )
        ref = self.executor.start_write(job, near)
        self.running[ref] = (shard, self.executor.now().monotonic)
        self.disk.promise(ref, self._bytes(shard))

    def _bytes(self, shard: OpenShard) -> int:
        return self.disk.rows(clip for clip in shard.clips if shard.finished[clip.clip_id].node is not None)

    def result(self, ref: Ref) -> tuple[OpenShard, Written | Lost, float]:
        """What became of a shard, and the seconds that took; one whose writer vanished is being written again. Raises
        JobFailed when that keeps happening, and when another build has taken over."""
        shard, started = self.running.pop(ref)
        self.disk.settle(ref)
        written = self.executor.written(ref)
        if isinstance(written, Lost):
            self._lost[shard.name] += 1
            if (times := self._lost[shard.name]) > LOST_AT_MOST:
                raise JobFailed(f"shard {shard.name} was not written: its writer died {counted(times, 'time')}")
            self._start(shard)
        elif isinstance(written, TakenOver):
            raise LeaseHeld(f"another command has taken over {self.run.uri}; this one has stopped")
        return shard, written, self.executor.now().monotonic - started

    def forget_rows(self, shard: OpenShard) -> None:
        """Removes the rows of a committed shard's clips from the spools."""
        by_node: dict[str, list[str]] = {}
        for clip in shard.finished.values():
            if clip.node is not None:
                by_node.setdefault(clip.node, []).append(clip.record.clip_id)
        for node, clip_ids in by_node.items():
            if node in self.executor.nodes():
                self.executor.forget_rows(node, clip_ids)
