"""Builds from archives without Ray: the shipped build, driver and nodes, with each node's archives fetched for real by
threads, and a clip's rows a token. A video's content says what becomes of it: `broken` does not decode."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.plan import PlanSettings
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards import writer
from kinetics_pipeline.sources.base import LocalSource, NetworkSource, is_network
from kinetics_pipeline.sources.local.held import held
from kinetics_pipeline.sources.local.tars import unpack
from kinetics_pipeline.workflows.benchmarks.simulation import tokens
from kinetics_pipeline.workflows.building import copies
from kinetics_pipeline.workflows.building.archives.build import CopiesBuild
from kinetics_pipeline.workflows.building.archives.freezing import AskedArchives
from kinetics_pipeline.workflows.building.archives.node import (
    AT_ONCE,
    ArchiveAnswer,
    ArchiveJob,
    ArchiveNode,
    keep_only,
)
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.dataset_build import Limits, WantedClips
from kinetics_pipeline.workflows.building.disk import CacheUsage
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.executor import Lost, Ref
from kinetics_pipeline.workflows.building.lanes import Pace
from kinetics_pipeline.workflows.building.lease import Lease
from kinetics_pipeline.workflows.building.process import ClipJob, Processed
from kinetics_pipeline.workflows.building.write import Committed, WriteJob
from tests.builders.driven_builds import AtOnce

RECIPE = Recipe(short_side=32, flow="none")


class Killed(Exception):
    """The build was killed here."""


class OnThreads(AtOnce):
    """Nodes with a cache of their own each, whose archives are fetched by threads; the rest is done at once."""

    def __init__(self, folder: Path, nodes: Sequence[str], bound: int | None = None) -> None:
        super().__init__(folder)
        self.folders = {node: CacheFolders(folder / node) for node in nodes}
        self.bound = bound
        self.peak = 0
        """The most bytes of archives that any node was seen to have."""
        self.made: list[tuple[str, str | None]] = []
        """Clips with the node that they were sent to."""
        self.starts = 0
        """Times that processes for clips were started ahead."""
        self.on_event: Callable[[], None] = lambda: None
        self._threads = {node: ThreadPoolExecutor(AT_ONCE) for node in nodes}
        self._actors = {node: ArchiveNode(folders, node) for node, folders in self.folders.items()}
        self._node_of: dict[Ref, str] = {}

    def here(self) -> str:
        return next(iter(self.folders))

    def nodes(self) -> Mapping[str, str]:
        return {node: node for node in self.folders}

    def working_nodes(self) -> list[str]:
        return list(self.folders)

    def lose(self, node: str) -> None:
        """The node and all that it has is gone."""
        shutil.rmtree(self.folders.pop(node).root, ignore_errors=True)

    def rest(self, seconds: float) -> None:
        self.time += max(seconds, 1.0)

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        self.on_event()
        self.peak = max(self.peak, *(folders.archive_bytes() for folders in self.folders.values()))
        threads = [ref for ref in refs if isinstance(ref, Future)]
        if len(threads) < len(refs):
            return [ref for ref in refs if not isinstance(ref, Future)]
        return list(wait(threads, timeout=seconds, return_when="FIRST_COMPLETED").done)

    def start_measuring(self, node: str) -> Ref:
        folders = self.folders[node]
        return self._done(CacheUsage(0, 1 << 40, folders.archive_bytes()))

    def start_hold(self, job: ArchiveJob, node: str) -> Ref:
        ref = self._threads[node].submit(self._actors[node].hold, job)
        self._node_of[ref] = node
        return ref

    def held(self, ref: Ref) -> ArchiveAnswer | Lost:
        assert isinstance(ref, Future)
        answer: ArchiveAnswer = ref.result()
        return answer if self._node_of[ref] in self.folders else Lost("its node is gone")

    def start_workers(self) -> None:
        self.starts += 1

    def keep_only_archives(self, keys: Collection[str]) -> None:
        for folders in self.folders.values():
            keep_only(folders, keys)

    def start_clip(self, job: ClipJob) -> Ref:
        self.made.append((job.clip.clip_id, job.node))
        for number, candidate in enumerate(job.candidates):
            path = candidate.media.path
            if candidate.media.inside is not None:
                if candidate.node not in self.folders:
                    return self._done(Lost("its node is gone", archive_gone=True))
                scratch = self.folder / "unpacked" / str(number)
                path = unpack(candidate.media, scratch, candidate.media.inside.points)
            if b"broken" not in path.read_bytes():
                record = Record.of(job.clip, "ok", job.spent.detail, job.spent, source=candidate.media.source, frames=1)
                return self._done(Processed(record, job.node or self.here(), 10))
        record = Record.of(job.clip, "decode", f"{job.candidates[0].media.source}: broken", job.spent)
        return self._done(Processed(record, job.node or self.here(), 0))

    def start_write(self, job: WriteJob, near: str | None) -> Ref:
        store = Dataset.open(job.uri).store
        unverified = patch.object(writer, "verify_data_file", lambda *arguments: None)
        with patch.object(writer, "_write_rows", tokens._write_rows), unverified:
            writer.write_shard(
                store,
                name=job.shard,
                plan=(job.plan, job.archive_group),
                clips=((clip.record, tokens.token(clip.record.clip_id)) for clip in job.clips),
                recipe=job.recipe,
                classes=job.classes,
                scratch=self.folder,
                still_current=lambda: True,
            )
        return self._done(Committed())

    def finished_clips(self) -> list[tuple[str, list[Record]]]:
        return []

    def clear(self, *, everything: bool) -> None:
        if everything:
            for folders in self.folders.values():
                folders.clear()

    def end_removals(self) -> None: ...

    def stop(self) -> None:
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)


@dataclass
class ArchiveBuild:
    """A dataset in `folder` whose clips come from archives, and then from other sources."""

    folder: Path
    annotations: Path
    source: str
    before: dict[str, LocalSource | NetworkSource] = field(default_factory=dict)
    """Sources that are named before the archives; `others` after them."""
    others: dict[str, LocalSource | NetworkSource] = field(default_factory=dict)
    settings: PlanSettings = field(default_factory=lambda: PlanSettings(clips_per_shard=4))
    nodes: Sequence[str] = ("n0",)
    per_plan: int = 8
    max_disk: int | None = None
    max_wait: float = 0.0
    keep: str | None = None
    said: list[str] = field(default_factory=list)
    started: Callable[[OnThreads], None] = lambda executor: None

    def run(self, on_event: Callable[[], None] = lambda: None) -> OnThreads:
        """One `build`, to its end; `on_event` may raise what ends it."""
        self.folder.mkdir(exist_ok=True)
        annotations = load_annotations([str(self.annotations)])
        wanted = copies.Wanted(self.source, "c", None, None, None, False, self.said.append)
        copy = copies.ask(wanted, annotations)
        dataset = Dataset.open_or_create(str(self.folder / "dataset"), RECIPE, annotations.labels, {})
        self.dataset = dataset
        executor = OnThreads(self.folder / "cache", self.nodes)
        executor.on_event = on_event
        self.started(executor)
        local = [one for one in (*self.before.values(), *self.others.values()) if not is_network(one)]
        sources: dict[str, Any] = {**self.before, "c": copy, **self.others}
        asked = AskedArchives(
            copy.archives,
            {"c": "copy"},
            (copy.typed,),
            False,
            self.per_plan,
            partial(copies.may_hold, labels=annotations.labels),
            self.said.append,
            self.keep,
        )
        with Lease.acquire(dataset.store) as lease:
            build = CopiesBuild(
                dataset,
                lease,
                executor,
                sources,
                WantedClips(
                    annotations.columns,
                    self.settings,
                    lambda clips: set().union(*(held(one, clips) for one in local)),  # type: ignore[arg-type]
                ),
                Limits(Pace(rate=3600.0, max_wait=self.max_wait), max_disk=self.max_disk),
                asked,
            )
            try:
                for step in build.drivers(self.folder):
                    for _ in step.run():
                        if isinstance(step, Driver) and not build.can_go_on():
                            break
            finally:
                executor.stop()
        return executor

    def run_losing(self, node: str) -> dict[str, tuple[str, str]]:
        """The outcomes of a build whose node goes once a clip was made there."""
        executors: list[OnThreads] = []

        def losing() -> None:
            executor = executors[0]
            if node in executor.folders and any(where == node for _, where in executor.made):
                executor.lose(node)

        self.started = executors.append
        self.run(losing)
        assert node not in executors[0].folders
        return self.outcomes

    @property
    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Outcome and source of each clip."""
        return {clip: (record.outcome, record.source or "") for clip, record in self.dataset.records().items()}

    def shards(self) -> dict[str, bytes]:
        """The data files."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / "dataset/shards").glob("*.parquet"))}
