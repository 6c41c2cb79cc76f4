"""The order of a build: what was withdrawn, then the plans that are not finished, then what is asked and not planned.

The same under Ray and in a simulation: time, nodes and work come from an executor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.annotations.columns import as_frame, outcome_table, rows_with, without_clips
from kinetics_pipeline.dataset.dataset import OUTCOME_COLUMNS, Dataset
from kinetics_pipeline.dataset.withdraw import finish_withdrawals
from kinetics_pipeline.plan import Plan, PlannedShard, PlanSettings, make_plan
from kinetics_pipeline.records import RETRYABLE, Clip, Record, Spent
from kinetics_pipeline.sources.base import LocalSource, NetworkSource
from kinetics_pipeline.sources.pace.retries import Event
from kinetics_pipeline.storage.mapped_table import on_disk
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.disk import Disk, DiskExecutor, Needs, needs_of
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.events import BuildEvent
from kinetics_pipeline.workflows.building.fetch import FetchExecutor, Fetching
from kinetics_pipeline.workflows.building.lanes import Lanes, Pace
from kinetics_pipeline.workflows.building.lease import Lease, is_current
from kinetics_pipeline.workflows.building.plan_run import FinishedClip, PlanRun
from kinetics_pipeline.workflows.building.process import ClipExecutor, Processing
from kinetics_pipeline.workflows.building.state import Attempts
from kinetics_pipeline.workflows.building.write import WriteExecutor, Writing

if TYPE_CHECKING:
    import pandas as pd


class BuildExecutor(FetchExecutor, ClipExecutor, WriteExecutor, DiskExecutor, Protocol):
    """Runs all stages, and looks after the cache on every node."""

    def end_removals(self) -> None:
        """Waits for what `forget_downloads` and `forget_rows` began."""


@dataclass(frozen=True)
class WantedClips:
    """The clips that a command asks for."""

    columns: pa.Table
    """The clips asked (`Annotations.columns`)."""
    settings: PlanSettings
    held_locally: Callable[[Iterable[Clip]], Collection[str]]
    """See `make_plan`."""

    @property
    def table(self) -> pd.DataFrame:
        """The same clips as `read_annotations` gives them; made anew each time."""
        return as_frame(self.columns)


@dataclass(frozen=True)
class Limits:
    """What a build may use, and what it keeps."""

    pace: Pace
    max_disk: int | None = None
    """Bytes that the cache may hold; None: what its disk gives."""
    notes: int = 0
    """Bytes of the cache that the notes on tar files take."""
    keep_clips: str | None = None
    """The place where segments are kept."""


@dataclass(frozen=True)
class Tried:
    """What the clips of one plan are tried with."""

    sources: Mapping[str, LocalSource | NetworkSource]
    """Key (`Asked.keys`) -> source, in the order in which they are tried."""
    earlier: Callable[[str], Sequence[Event]] | None = None
    """What is known of a clip (by clip_id) from before: see `Attempts`."""
    archives: int = 0
    """Bytes of the cache that are left to archives from afar."""


class Waiting(Protocol):
    """Something that a build waits for before its next plan."""

    things: str
    """What is waited for, in the plural."""

    @property
    def total(self) -> int: ...

    @property
    def done(self) -> int: ...

    @property
    def unanswered(self) -> str:
        """What was said where nobody answers; empty where somebody does."""

    def run(self) -> Generator[list[BuildEvent], None, None]:
        """Waits for all of them; yields about twice a second, and can be stopped there. Raises WorkRemains."""


Step = Driver | Waiting


class DatasetBuild:
    """A build that holds the lease."""

    def __init__(
        self,
        dataset: Dataset,
        lease: Lease,
        executor: BuildExecutor,
        sources: Mapping[str, LocalSource | NetworkSource],
        wanted: WantedClips,
        limits: Limits,
    ) -> None:
        self.dataset, self.lease, self.executor = dataset, lease, executor
        self.sources, self.wanted, self.limits = sources, wanted, limits
        self._scratch: Path | None = None

    def drivers(self, scratch: Path) -> Iterator[Step]:
        """One step after the other; each must have run to its end before the next is asked for. `scratch`: a folder
        for files of the moment.

        Raises UserError for limits that are too small, JobFailed for a damaged dataset, WorkRemains when another
        command has taken over, and where the disk is full.
        """
        store, self._scratch = self.lease.store, scratch
        self.executor.clear(everything=False)
        self.dataset.complete_copies()
        finish_withdrawals(self.dataset, scratch, lambda: is_current(store, self.lease.generation))
        yield from self._plans()
        self.executor.clear(everything=True)
        store.sweep()  # a writer that was lost on the way

    def can_go_on(self) -> bool:
        """Whether the driver that is at work still has what it needs; if not, the next step is to be asked for."""
        return True

    def _plans(self) -> Iterator[Step]:
        """The plans that are not finished, then what is asked and not planned."""
        dataset, asked = self.dataset, self.wanted.columns
        while True:
            with dataset.one_listing():
                unfinished, outcomes = dataset.unfinished(), settled_table(dataset, asked)
                if unfinished is None:
                    plan = make_plan(
                        asked,
                        outcomes=outcomes,
                        settings=self.wanted.settings,
                        held_locally=self.wanted.held_locally,
                        next_shard=dataset.next_shard_numbers(),
                    )
            if unfinished is None:
                break
            driver = self._driver(*unfinished, outcomes)
            del unfinished, outcomes  # not held while the driver is at work
            yield driver
            del driver
        if len(plan):
            self._disk(needs_of(plan, dataset.recipe))  # raises before the plan is frozen
            driver = self._driver(dataset.add_plan(plan), plan, plan.shard_names(), outcomes)
            del plan, outcomes
            yield driver

    def _driver(
        self,
        number: int,
        plan: Plan,
        missing: Sequence[str],
        outcomes: Mapping[str, str] | pa.Table,
        tried: Tried | None = None,
    ) -> Driver:
        """`outcomes`: what was known of clips before, as `make_plan` takes it. `tried`: with which sources, by default
        all."""
        tried = tried or Tried(self.sources)
        executor, store, pace = self.executor, self.lease.store, self.limits.pace
        plan = plan if self._scratch is None else Plan(on_disk(plan.table, self._scratch))
        shards = partial(plan.shards, set(missing))
        run = PlanRun(
            uri=store.uri,
            number=number,
            plan=plan,
            missing=missing,
            generation=self.lease.generation,
            recipe=self.dataset.recipe,
            classes=self.dataset.classes,
            finished=self._finished_before() | withdrawn_clips(self.dataset, shards()),
        )
        disk = self._disk(needs_of(plan.of_shards(missing), self.dataset.recipe), tried.archives)
        attempts = Attempts(store, monotonic=lambda: executor.now().monotonic, earlier=tried.earlier)
        known = outcome_table(outcomes)
        familiar = videos_of(plan, known["clip_id"].filter(rows_with(known["outcome"], RETRYABLE)))
        for shard in shards() if attempts else ():
            familiar.update(clip.video_id for clip in shard.clips if attempts.was_doubted(clip.clip_id))
        return Driver(
            run,
            tried.sources,
            executor,
            fetch=Fetching(executor, Lanes(executor, store, tried.sources, pace, familiar=familiar), disk),
            process=Processing(executor, run.recipe, disk, time_limit=pace.time_limit, keep=self.limits.keep_clips),
            write=Writing(executor, run, disk),
            disk=disk,
            attempts=attempts,
        )

    def _disk(self, wanted: Needs, archives: int = 0) -> Disk:
        """The cache's disk, which is large enough for what is wanted beside so many bytes of archives."""
        limits = self.limits
        disk = Disk(
            self.executor,
            self.dataset.recipe,
            limits.max_disk,
            notes=limits.notes,
            archives=archives,
            max_wait=limits.pace.max_wait,
        )
        disk.require(wanted)
        return disk

    def _finished_before(self) -> dict[str, FinishedClip]:
        """Clips that earlier runs finished and no shard holds yet."""
        found: dict[str, FinishedClip] = {}
        for node, records in self.executor.finished_clips():
            found |= {record.clip_id: FinishedClip(record, node) for record in records}
        if self.limits.keep_clips is not None:
            kept = {PurePosixPath(name).stem for name, _ in open_store(self.limits.keep_clips).list()}
            found = {clip: one for clip, one in found.items() if clip in kept or one.record.outcome != "ok"}
        return found


def settled_table(dataset: Dataset, asked: pa.Table) -> pa.Table:
    """What `Dataset.settled` says, as columns `clip_id` and `outcome`: a third of the memory. `asked`: columns
    `clip_id` and `video_id`."""
    found = dataset.newest_table(OUTCOME_COLUMNS)
    if not (ids := list(dataset.withdrawn())):
        return found
    withdrawn = pa.array(ids, pa.string())
    early = asked.filter(pc.or_(pc.is_in(asked["clip_id"], withdrawn), pc.is_in(asked["video_id"], withdrawn)))
    early = without_clips(early, found["clip_id"])["clip_id"].combine_chunks()
    more = pa.table([early, pa.array(["withdrawn"] * len(early), pa.string())], schema=OUTCOME_COLUMNS)
    return pa.concat_tables([found, more])


def videos_of(plan: Plan, clip_ids: pa.ChunkedArray) -> set[str]:
    """The videos of these clips, as far as they are planned."""
    return set(plan.table["video_id"].filter(pc.is_in(plan.table["clip_id"], clip_ids)).to_pylist())


def withdrawn_clips(dataset: Dataset, shards: Iterable[PlannedShard]) -> dict[str, FinishedClip]:
    """Planned clips that were withdrawn since, as clips that are finished."""
    if not (reasons := dataset.withdrawn()):
        return {}
    return {
        clip.clip_id: FinishedClip(Record.of(clip, "withdrawn", reason, Spent()), None)
        for shard in shards
        for clip in shard.clips
        if (reason := reasons.get(clip.clip_id) or reasons.get(clip.video_id)) is not None
    }
