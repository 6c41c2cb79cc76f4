"""The driver's work on Ray: which function runs where, and what of Ray's errors means that work vanished."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, cast

import ray

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.workflows.building.archives.node import (
    AT_ONCE,
    ArchiveAnswer,
    ArchiveJob,
    ArchiveNode,
    Here,
    keep_only,
)
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.disk import CacheUsage, measured
from kinetics_pipeline.workflows.building.executor import Lost, Moment, Ref
from kinetics_pipeline.workflows.building.fetch import Downloaded, Fetched, Fetcher, FetchJob, forget_downloads
from kinetics_pipeline.workflows.building.nodes import (
    LOST_WORK,
    answer,
    named_nodes,
    nodes,
    on,
    on_every_node,
    this_node,
    working_nodes,
)
from kinetics_pipeline.workflows.building.placement.gpus import GpuPool
from kinetics_pipeline.workflows.building.placement.holds import Holds, Idle
from kinetics_pipeline.workflows.building.process import ClipJob, Processed, get_ready, process
from kinetics_pipeline.workflows.building.resources import TABLE
from kinetics_pipeline.workflows.building.write import WriteJob, Written, write

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
STOPPING = FULL | {errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of a disk that would befall every clip: the run ends, and no clip is charged."""
MARKERS_AT_ONCE = 4
"""Shards without a clip that are written at a time."""
LONGEST_REMOVAL = 30.0
"""Seconds that are waited at the end for files to be removed."""

_fetcher = ray.remote(**TABLE["fetch"].options())(Fetcher)
_archive_node = ray.remote(**TABLE["archives"].options(max_concurrency=AT_ONCE))(ArchiveNode)
_process_on_cpu = ray.remote(**TABLE["clip"].options(max_retries=3))(process)
_get_ready = ray.remote(**TABLE["clip"].options(max_retries=0))(get_ready)
_write = ray.remote(**TABLE["write"].options(max_retries=3))(write)
_ON_FILES = TABLE["files"].options(max_retries=1)
_keep_only = ray.remote(**_ON_FILES)(keep_only)
_forget_downloads = ray.remote(**_ON_FILES)(forget_downloads)
_measure = ray.remote(**TABLE["files"].options(max_retries=0))(measured)


@ray.remote(**_ON_FILES)
def _finished(folders: CacheFolders) -> tuple[str, list[Record]]:
    return this_node(), folders.finished()


@ray.remote(**_ON_FILES)
def _clear(folders: CacheFolders, *, everything: bool) -> None:
    if everything:
        folders.clear()
    else:
        folders.clear_unfinished()


@ray.remote(**_ON_FILES)
def _forget_rows(folders: CacheFolders, clip_ids: Sequence[str]) -> None:
    spool = Spool(folders.spool)
    for clip_id in clip_ids:
        spool.remove(clip_id)


class RayExecutor:
    """Runs the stages of one build on the Ray cluster that this process is connected to."""

    def __init__(
        self, folders: CacheFolders, say: Callable[[str], None], *, on_gpu: bool, slots: int, grows: bool
    ) -> None:
        """`on_gpu`: whether clips are processed on GPUs. `slots`: downloads of one node at a time. `grows`: whether the
        cluster has an autoscaler. `say` tells the user a line."""
        self.folders, self.on_gpu, self.slots = folders, on_gpu, slots
        self._here = this_node()
        self._grows, self._keeps, self._idle = grows, Holds(self._here), Idle()
        self._gpus = GpuPool(folders, say, grows=grows)
        self._fetchers: dict[str, Any] = {}
        self._fetches: dict[Ref, tuple[str, Any]] = {}
        self._archive_nodes: dict[str, Any] = {}
        self._holds: dict[Ref, tuple[str, Any]] = {}
        self._fetched_on: set[str] = set()
        """Nodes that may have downloads."""
        self._archives: dict[str, str] = {}
        """Key of an archive -> the node where it lies."""
        self._cancelled: dict[Ref, str] = {}
        self._removals: list[ray.ObjectRef] = []
        self._thread = ThreadPoolExecutor(1)
        self._markers = ThreadPoolExecutor(MARKERS_AT_ONCE)

    def now(self) -> Moment:
        return Moment(time.time(), time.monotonic())

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def here(self) -> str:
        return self._here

    def nodes(self) -> Mapping[str, str]:
        return named_nodes()

    def keep_nodes(self, nodes: Collection[str]) -> None:
        if not self._grows:  # nobody takes a node
            return
        at_work = {node for node, _ in (*self._fetches.values(), *self._holds.values())}
        busy = {*nodes, *at_work, *self._archives.values()}
        self._keeps.keep(busy, named_nodes())
        for node in self._idle.ended({*self._fetchers, *self._archive_nodes}, busy, time.monotonic()):
            for actors in (self._fetchers, self._archive_nodes):
                if (actor := actors.pop(node, None)) is not None:
                    ray.kill(actor)

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        threads = [ref for ref in refs if isinstance(ref, Future)]
        tasks: list[Any] = [ref for ref in refs if not isinstance(ref, Future)]
        ready: list[Ref] = []
        if threads:
            ready += wait(threads, timeout=0 if tasks else seconds, return_when=FIRST_COMPLETED).done
        if tasks:
            ended, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0, fetch_local=False)
            if not ended and not ready and seconds:
                ended, _ = ray.wait(tasks, num_returns=1, timeout=seconds, fetch_local=False)
            ready += ended
        return ready

    # Fetching

    def start_fetch(self, job: FetchJob, node: str) -> Ref:
        if node not in self._fetchers:
            options = _fetcher.options(scheduling_strategy=on(node), max_concurrency=self.slots + 1)
            self._fetchers[node] = options.remote(self.folders, node, self.slots)
        fetcher = self._fetchers[node]
        self._fetched_on.add(node)
        ref = fetcher.fetch.remote(job)
        self._fetches[ref] = (node, fetcher)
        return cast(Ref, ref)

    def fetched(self, ref: Ref) -> Fetched | Lost:
        node, fetcher = self._fetches.pop(ref)
        try:
            return cast(Fetched, ray.get(ref))
        except LOST_WORK:
            if self._fetchers.get(node) is fetcher:
                del self._fetchers[node]
            return Lost("its node died while it was fetched")
        except ray.exceptions.RayTaskError as error:
            return lost_by(error, "a download cannot be kept in the cache")

    def forget_downloads(self, downloads: Sequence[Downloaded]) -> None:
        self._fetched_on &= set(nodes())
        self._remove(
            [
                self._fetchers[node].forget.remote(downloads)
                if node in self._fetchers
                else _forget_downloads.options(scheduling_strategy=on(node)).remote(self.folders, downloads)
                for node in self._fetched_on
            ]
        )

    # Archives

    def working_nodes(self) -> list[str]:
        return working_nodes()

    def start_hold(self, job: ArchiveJob, node: str) -> Ref:
        if node not in self._archive_nodes:
            self._archive_nodes[node] = _archive_node.options(scheduling_strategy=on(node)).remote(self.folders, node)
        actor = self._archive_nodes[node]
        ref = actor.hold.remote(job)
        self._holds[ref] = (node, actor)
        return cast(Ref, ref)

    def held(self, ref: Ref) -> ArchiveAnswer | Lost:
        node, actor = self._holds.pop(ref)
        try:
            answered = cast(ArchiveAnswer, ray.get(ref))
            if isinstance(answered, Here):
                self._archives[answered.key] = node
            return answered
        except LOST_WORK:
            if self._archive_nodes.get(node) is actor:
                del self._archive_nodes[node]
            return Lost("its node died while it was fetched")
        except ray.exceptions.RayTaskError as error:
            return lost_by(error, "an archive cannot be kept in the cache")

    def start_workers(self) -> None:
        for _ in range(0 if self.on_gpu else self.places()):  # an actor on a GPU is started when it is asked for
            _get_ready.remote()

    def keep_only_archives(self, keys: Collection[str]) -> None:
        self._archives = {key: node for key, node in self._archives.items() if key in keys}
        for node in nodes():
            self._remove([_keep_only.options(scheduling_strategy=on(node)).remote(self.folders, list(keys))])

    # Processing

    def places(self) -> int:
        return self._gpus.places() if self.on_gpu else max(1, int(ray.cluster_resources().get("CPU", 1)))

    def lacks(self) -> str:
        """What clips wait for while there is no place for one; empty where that is not known."""
        return self._gpus.lacks() if self.on_gpu else ""

    def start_clip(self, job: ClipJob) -> Ref:
        if not self.on_gpu:
            near = {} if job.node is None else {"scheduling_strategy": on(job.node, soft=True)}
            return cast(Ref, _process_on_cpu.options(**near).remote(self.folders, job))
        return self._gpus.start(job)

    def cancel(self, ref: Ref, reason: str) -> None:
        self._cancelled[ref] = reason
        ray.cancel(ref, force=not self.on_gpu)

    def processed(self, ref: Ref) -> Processed | Lost:
        gpu = self._gpus.ended(ref) if self.on_gpu else None
        cancelled = self._cancelled.pop(ref, "it was cancelled")
        try:
            return cast("Processed | Lost", ray.get(ref))
        except ray.exceptions.TaskCancelledError:
            return Lost(cancelled)
        except ray.exceptions.OutOfMemoryError:
            return Lost("its worker ran out of memory")
        except LOST_WORK:
            if gpu is not None:
                self._gpus.lose(gpu)
            return Lost("its worker or node died")
        except ray.exceptions.RayTaskError as error:
            return lost_by(error, "a finished clip cannot be kept in the cache")

    # Writing

    def start_write(self, job: WriteJob, near: str | None) -> Ref:
        """A shard without a clip is its marker alone: a thread writes it here, which costs a tenth of a task."""
        if all(clip.node is None for clip in job.clips):
            return self._markers.submit(write, self.folders, job)
        options = {"scheduling_strategy": on(near, soft=True)} if near in set(nodes()) and near else {}
        return cast(Ref, _write.options(**options).remote(self.folders, job))

    def written(self, ref: Ref) -> Written | Lost:
        try:
            return cast(Written, ref.result() if isinstance(ref, Future) else answer(cast(ray.ObjectRef, ref)))
        except LOST_WORK:
            return Lost("its writer or node died")

    def forget_rows(self, node: str, clip_ids: Sequence[str]) -> None:
        self._remove([_forget_rows.options(scheduling_strategy=on(node)).remote(self.folders, clip_ids)])

    # The cache

    def start_measuring(self, node: str) -> Ref:
        """Measures the driver's own node in a thread: while every core is taken a task starts a process for itself,
        which costs as much as a clip."""
        if node == self._here:
            return self._thread.submit(measured, self.folders)
        return cast(Ref, _measure.options(scheduling_strategy=on(node)).remote(self.folders))

    def measured(self, ref: Ref) -> CacheUsage | Lost:
        try:
            return cast(CacheUsage, ref.result() if isinstance(ref, Future) else ray.get(ref))
        except LOST_WORK:
            return Lost("its node died")

    def finished_clips(self) -> list[tuple[str, list[Record]]]:
        """The records, by node, of the clips that earlier runs finished and that no shard holds yet."""
        return on_every_node(_finished, self.folders)

    def clear(self, *, everything: bool) -> None:
        """Removes what a killed run left half-done on the nodes; `everything`: downloads and finished clips too.

        Raises UserError when the cache cannot be written.
        """
        on_every_node(_clear, self.folders, everything=everything)

    def _remove(self, removals: list[ray.ObjectRef]) -> None:
        self._removals += removals
        if self._removals:
            _, self._removals = ray.wait(self._removals, num_returns=len(self._removals), timeout=0)

    def end_removals(self) -> None:
        """Waits for what `forget_downloads` and `forget_rows` began."""
        if self._removals:
            ray.wait(self._removals, num_returns=len(self._removals), timeout=LONGEST_REMOVAL)
            self._removals = []


def lost_by(error: ray.exceptions.RayTaskError, what: str) -> Lost:
    """What an exception of a stage comes to: the work of one clip is lost. Raises the stage's own UserError, and one of
    `what` for a disk that fails every clip alike."""
    if isinstance(error.cause, UserError):
        raise error.cause from None
    if isinstance(error.cause, OSError) and error.cause.errno in STOPPING:
        ending = WorkRemains if error.cause.errno in FULL else JobFailed
        raise ending(f"{what}: {error.cause.strerror}") from None
    lines = str(error.cause).splitlines()
    return Lost(f"{type(error.cause).__name__}: {lines[0] if lines else ''}")
