"""Nodes with disks and cores, and the executor through which a driver uses them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinetics_pipeline.records import Record
from kinetics_pipeline.sources.base import Download
from kinetics_pipeline.sources.canary import Canary
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.benchmarks.simulation.network import Network, Server
from kinetics_pipeline.workflows.benchmarks.simulation.tokens import token
from kinetics_pipeline.workflows.benchmarks.simulation.world import BEGAN, Machine, Process, Task, World
from kinetics_pipeline.workflows.building.disk import CacheUsage
from kinetics_pipeline.workflows.building.executor import Lost, Moment, Ref
from kinetics_pipeline.workflows.building.fetch import Downloaded, Fetched, FetchJob
from kinetics_pipeline.workflows.building.lease import is_current
from kinetics_pipeline.workflows.building.process import ClipJob, Processed
from kinetics_pipeline.workflows.building.write import (
    Committed,
    RowsMissing,
    TakenOver,
    WriteJob,
    Written,
    commit_shard,
)

FRAMES, CLIP_BYTES = 250, 9_000_000
"""A finished clip has so many: ten seconds, and a little less than is expected of them."""
LARGEST_DOWNLOAD = 8_000_000
WRITER_RETRIES = 3
"""Times that Ray begins a task again whose worker died."""
LONGEST_NAP = 20.0
"""Seconds. A driver that looks in vain is simulated to look less and less often, as on a slow machine: looking twice a
second while an address rests for hours would take all the time there is."""


def download_bytes(video_id: str) -> int:
    """Bytes of a video: from a tenth of what is expected (2 MB) up to four times as much."""
    return 200_000 + zlib.crc32(video_id.encode()) % (LARGEST_DOWNLOAD - 200_000)


@dataclass(eq=False)
class Work:
    """What a ref stands for."""

    node: Node
    result: object = None
    error: BaseException | None = None
    is_done: bool = False
    waiting: Task | None = None


@dataclass(eq=False)
class Node:
    """A machine of the cluster; its disk outlives the driver."""

    id: str
    machine: Machine
    cores: int
    is_alive: bool = True
    spool: dict[str, tuple[Record, bytes]] = field(default_factory=dict)
    downloads: dict[Downloaded, int] = field(default_factory=dict)
    """Download -> its bytes; also those that are not complete."""
    scratch: dict[Process, int] = field(default_factory=dict)
    """Bytes of the shards that are being written, or were when their writer died."""
    busy: int = 0

    @property
    def used(self) -> int:
        """Bytes of the cache."""
        return len(self.spool) * CLIP_BYTES + sum(self.downloads.values()) + sum(self.scratch.values())


class Cluster:
    """The nodes, whoever drives them."""

    def __init__(self, world: World, network: Network, nodes: int, cores: int) -> None:
        self.world, self.network, self.cores = world, network, cores
        self.nodes: list[Node] = []
        self.workers: list[Process] = []
        """Processes that write, or wrote, a shard."""
        self.max_disk: int | None = None
        """Bytes that the cache of a node may hold."""
        self.overfull = ""
        """The first time that one held more; empty where none did."""
        self.ignores_the_lease = False
        """Planted: writers do not look whether another build has taken over."""
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> None:
        number = len(self.nodes)
        self.nodes.append(Node(f"node-{number:02d}", Machine(f"worker-{number:02d}"), self.cores))

    def check(self, node: Node) -> None:
        """Called when something was added to the cache of a node."""
        used = node.used - sum(size for worker, size in node.scratch.items() if not worker.is_alive)
        if self.max_disk is not None and used > self.max_disk:
            said = f"the cache of {node.id} held {used} bytes of {self.max_disk} at {self.world.now:.0f} s"
            self.overfull = self.overfull or said

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.is_alive]


class SimulatedExecutor:
    """A `BuildExecutor` of one driver's process."""

    def __init__(
        self,
        world: World,
        cluster: Cluster,
        process: Process,
        store_of: Callable[[Process], Store],
        scratch: Path,
    ) -> None:
        """`store_of`: the dataset's store as another process sees it."""
        self.world, self.cluster, self.process = world, cluster, process
        self.scratch = scratch
        self._store_of = store_of
        self.asked: list[tuple[float, str]] = []
        """Times at which a paced server was asked, with the video; judged at the end."""
        self.refused_until = 0.0
        """The time until which the driver knows that it must not ask."""
        self.too_early: list[str] = []
        self.on_write: Callable[[Sequence[Record]], None] = lambda records: None
        """Told the records of every shard that a writer is started for."""
        self._naps = 0.1
        self._work: list[Work] = []

    # Time

    def now(self) -> Moment:
        machine = self.process.machine
        return Moment(BEGAN + self.world.now + machine.skew, self.world.now)

    def rest(self, seconds: float) -> None:
        self._naps = min(LONGEST_NAP, 2 * self._naps)
        self.world.sleep(max(seconds, self._naps))

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        done = [ref for ref in refs if isinstance(ref, Work) and ref.is_done]
        if not done and seconds:
            task = self.world.current
            for ref in refs:
                assert isinstance(ref, Work)
                ref.waiting = task
            self._naps = min(LONGEST_NAP, 2 * self._naps)
            self.world.sleep(max(seconds, self._naps))
            done = [ref for ref in refs if isinstance(ref, Work) and ref.is_done]
        if done:
            self._naps = 0.1
        return list(done)

    def _begin(self, node: Node) -> Work:
        work = Work(node)
        self._work.append(work)
        return work

    def _end(self, work: Work, result: object, error: BaseException | None = None) -> None:
        if work.is_done:
            return
        work.result, work.error, work.is_done = result, error, True
        self._work.remove(work)
        if work.waiting is not None and not work.waiting.is_over:
            self.world.wake(work.waiting)

    def lose(self, node: Node) -> None:
        """The node died: what runs there is lost."""
        for work in [work for work in self._work if work.node is node]:
            self._end(work, Lost("its node died"))

    def here(self) -> str:
        return self.cluster.alive()[0].id

    def nodes(self) -> Mapping[str, str]:
        return {node.id: node.machine.name for node in self.cluster.alive()}

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Nobody takes nodes here that do nothing."""

    def _node(self, node_id: str) -> Node | None:
        return next((node for node in self.cluster.alive() if node.id == node_id), None)

    # Fetching

    def start_fetch(self, job: FetchJob, node: str) -> Ref:
        random, there = self.world.random, self._node(node)
        assert there is not None, f"{node} is not alive"
        work = self._begin(there)
        if (job.source.source if isinstance(job.source, Canary) else job.source).paced:
            self.asked.append((self.world.now, job.video_id))
            if self.world.now < self.refused_until - 1e-6:
                self.too_early.append(f"{job.video_id} at {self.world.now:.1f}, not before {self.refused_until:.1f}")
        began = self.world.now
        seconds = random.uniform(0.5, 20.0) if random.random() < 0.98 else random.uniform(60.0, 900.0)
        self.world.at(seconds, lambda: self._fetch(job, work, self.world.now - began))
        return work

    def _fetch(self, job: FetchJob, work: Work, seconds: float) -> None:
        if work.is_done or not self.process.is_alive:  # downloads end with their driver
            return
        server = job.source.source if isinstance(job.source, Canary) else job.source
        assert isinstance(server, Server)
        download = self.cluster.network.answer(server, job.video_id, job.clips, Path(job.video_id))
        if download.media:
            key, there = (job.source.name, job.video_id), work.node.downloads
            whole, before = download_bytes(job.video_id), there.get((job.source.name, job.video_id), 0)
            there[key] = min(whole, before + job.allowance)
            self.cluster.check(work.node)
            if there[key] < whole:
                download = Download(no_room=True)
        self._end(work, Fetched(download, work.node.id, round(seconds, 3)))

    def fetched(self, ref: Ref) -> Fetched | Lost:
        assert isinstance(ref, Work)
        result = ref.result
        assert isinstance(result, Fetched | Lost)
        failure = result.download.failure if isinstance(result, Fetched) else None
        if failure is not None and failure.outcome == "bot_check":
            self.refused_until = max(self.refused_until, self.world.now + 3600.0)
        return result

    def forget_downloads(self, downloads: Sequence[Downloaded]) -> None:
        for node in self.cluster.alive():
            for one in downloads:
                node.downloads.pop(one, None)

    # Processing

    def places(self) -> int:
        return max(1, sum(node.cores for node in self.cluster.alive()))

    def start_clip(self, job: ClipJob) -> Ref:
        node = min(self.cluster.alive(), key=lambda node: node.busy - node.cores)
        work = self._begin(node)
        node.busy += 1
        wait = max(0, node.busy - node.cores) * 3.0
        self.world.at(wait + self.world.random.uniform(0.5, 6.0), lambda: self._process(job, work))
        return work

    def _process(self, job: ClipJob, work: Work) -> None:
        node = work.node
        node.busy -= 1
        if work.is_done or not node.is_alive or (not self.process.is_alive and self.world.random.random() < 0.5):
            return
        clip, candidate = job.clip, job.candidates[0]
        if clip.clip_id in node.spool:
            record, _ = node.spool[clip.clip_id]
            self._end(work, Processed(record, node.id, CLIP_BYTES))
            return
        source = self._node(candidate.node)
        if source is None or (candidate.media.source, clip.video_id) not in source.downloads:
            self._end(work, Lost("the download went with its node"))
            return
        if self.world.random.random() < 0.01:
            self._end(work, Lost("its worker ran out of memory"))
            return
        if self.cluster.network.truths[clip.video_id] == "decode":
            record = Record.of(clip, "decode", "simulated", job.spent)
            self._end(work, Processed(record, node.id, 0))
            return
        record = Record.of(clip, "ok", job.spent.detail, job.spent, source=candidate.media.source, frames=FRAMES)
        node.spool[clip.clip_id] = (record, token(clip.clip_id))
        self.cluster.check(node)
        self._end(work, Processed(record, node.id, CLIP_BYTES))

    def cancel(self, ref: Ref, reason: str) -> None:
        assert isinstance(ref, Work)
        self._end(ref, Lost(reason))

    def processed(self, ref: Ref) -> Processed | Lost:
        assert isinstance(ref, Work)
        result = ref.result
        assert isinstance(result, Processed | Lost)
        return result

    # Writing

    def start_write(self, job: WriteJob, near: str | None) -> Ref:
        self.on_write([clip.record for clip in job.clips])
        alive = self.cluster.alive()
        node = (self._node(near) if near else None) or alive[self.world.random.randrange(len(alive))]
        work = self._begin(node)
        self._write(job, work, WRITER_RETRIES)
        return work

    def _write(self, job: WriteJob, work: Work, retries: int) -> None:
        worker = self.world.process(work.node.machine)
        self.cluster.workers.append(worker)
        store = self._store_of(worker)

        def body() -> None:
            work.node.scratch[worker] = CLIP_BYTES * sum(clip.node is not None for clip in job.clips)
            self.cluster.check(work.node)
            written = self._written_by(store, job, work.node)
            del work.node.scratch[worker]
            self._end(work, written)

        def ended(error: BaseException | None) -> None:
            if error is None or work.is_done:
                return
            if isinstance(error, Exception):
                self._end(work, None, error)
            elif retries and work.node.is_alive and self.process.is_alive:
                self._write(job, work, retries - 1)
            else:
                self._end(work, Lost("its writer died"))

        self.world.start(worker, body, ended)

    def _written_by(self, store: Store, job: WriteJob, node: Node) -> Written:
        rows: dict[str, bytes] = {}
        for clip in job.clips:
            if clip.node is not None:
                holder = self._node(clip.node)
                if holder is not None and clip.record.clip_id in holder.spool:
                    rows[clip.record.clip_id] = holder.spool[clip.record.clip_id][1]
        missing = [c.record.clip_id for c in job.clips if c.node is not None and c.record.clip_id not in rows]
        if missing:
            return RowsMissing(tuple(missing))
        clips = ((clip.record, rows.get(clip.record.clip_id, b"")) for clip in job.clips)

        def still_current() -> bool:
            return self.cluster.ignores_the_lease or is_current(store, job.generation)

        return commit_shard(store, job, clips, self.scratch, still_current)

    def written(self, ref: Ref) -> Written | Lost:
        assert isinstance(ref, Work)
        if ref.error is not None:
            raise ref.error
        result = ref.result
        assert isinstance(result, Committed | RowsMissing | TakenOver | Lost)
        return result

    def forget_rows(self, node: str, clip_ids: Sequence[str]) -> None:
        there = self._node(node)
        if there is not None:
            for clip_id in clip_ids:
                there.spool.pop(clip_id, None)

    # The cache

    def start_measuring(self, node: str) -> Ref:
        there = self._node(node)
        assert there is not None
        work = self._begin(there)
        used = there.used
        self.world.at(0.2, lambda: self._end(work, CacheUsage(used, 1 << 50)))
        return work

    def measured(self, ref: Ref) -> CacheUsage | Lost:
        assert isinstance(ref, Work)
        while not ref.is_done:
            self.world.sleep(0.1)
        result = ref.result
        assert isinstance(result, CacheUsage | Lost)
        return result

    def finished_clips(self) -> list[tuple[str, list[Record]]]:
        return [(node.id, [record for record, _ in node.spool.values()]) for node in self.cluster.alive()]

    def clear(self, *, everything: bool) -> None:
        for node in self.cluster.alive():
            node.scratch.clear()
            if everything:
                node.spool.clear()
                node.downloads.clear()

    def end_removals(self) -> None:
        pass
