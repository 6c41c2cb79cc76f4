"""Builds without Ray and without waiting: the shipped driver, lanes, disk and attempts, with what they start done in
this process at once, on a clock that jumps to whatever is awaited."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.plan import Plan, PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.sources.base import NetworkSource
from kinetics_pipeline.workflows.building.disk import CacheUsage, Disk
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.events import ClipFinished, ClipTakenBack
from kinetics_pipeline.workflows.building.executor import Moment, Ref
from kinetics_pipeline.workflows.building.fetch import Downloaded, Fetched, Fetching, FetchJob
from kinetics_pipeline.workflows.building.lanes import Lanes, Pace
from kinetics_pipeline.workflows.building.plan_run import PlanRun
from kinetics_pipeline.workflows.building.process import ClipJob, Processed, Processing
from kinetics_pipeline.workflows.building.state import Attempts
from kinetics_pipeline.workflows.building.watch.event_log import EventLog
from kinetics_pipeline.workflows.building.watch.live import Live
from kinetics_pipeline.workflows.building.watch.look import look_at
from kinetics_pipeline.workflows.building.watch.watcher import Watcher
from kinetics_pipeline.workflows.building.write import Committed, WriteJob, Writing

NODE = "here"


class AtOnce:
    """Does what is started at once: downloads really, processing and writing as tokens. Its clock moves by what is
    waited for, not by what is worked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = 1e9
        self.results: dict[Ref, Any] = {}
        self.written_shards: dict[str, list[Record]] = {}
        self._numbers = itertools.count()

    def _done(self, result: Any) -> Ref:
        ref = next(self._numbers)
        self.results[ref] = result
        return ref

    def now(self) -> Moment:
        return Moment(self.time, self.time)

    def rest(self, seconds: float) -> None:
        self.time += max(seconds, 1.0)

    def here(self) -> str:
        return NODE

    def nodes(self) -> Mapping[str, str]:
        return {NODE: "first"}

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        return list(refs)

    def start_measuring(self, node: str) -> Ref:
        return self._done(CacheUsage(0, 1 << 40))

    def start_fetch(self, job: FetchJob, node: str) -> Ref:
        folder = self.folder / job.video_id
        folder.mkdir(parents=True, exist_ok=True)
        return self._done(Fetched(job.source.download(job.video_id, job.clips, folder), NODE, 0.1))

    def start_clip(self, job: ClipJob) -> Ref:
        return self._done(Processed(Record.of(job.clip, "ok", job.spent.detail, job.spent, frames=50), NODE, 1000))

    def start_write(self, job: WriteJob, near: str | None) -> Ref:
        self.written_shards[job.shard] = [clip.record for clip in job.clips]
        return self._done(Committed())

    def take(self, ref: Ref) -> Any:
        return self.results.pop(ref)

    measured = fetched = processed = written = take

    def places(self) -> int:
        return 2

    def keep_nodes(self, nodes: Collection[str]) -> None: ...

    def cancel(self, ref: Ref, reason: str) -> None: ...

    def forget_downloads(self, downloads: Sequence[Downloaded]) -> None: ...

    def forget_rows(self, node: str, clip_ids: Sequence[str]) -> None: ...


@dataclass
class Watched:
    """The live states of a build, one for each look, and its log where one is kept."""

    states: list[Live] = field(default_factory=list)
    log: EventLog | None = None


@dataclass
class DrivenBuild:
    """A dataset in `folder` whose clips come from one source."""

    folder: Path
    source: NetworkSource
    recipe: Recipe = field(default_factory=lambda: Recipe(short_side=32, flow="none"))
    retry: frozenset[str] = frozenset()
    records: dict[str, Record] = field(default_factory=dict)
    """Records of committed shards, by video."""
    charged: Counter[str] = field(default_factory=Counter)
    """Outcomes that clips came to in the latest run; those taken back do not count."""
    unfinished: Plan | None = None

    def __post_init__(self) -> None:
        self.executor = AtOnce(self.folder / "cache")
        self.dataset = Dataset.create(self.folder / "dataset", self.recipe, ["running"], {})

    def run(
        self, annotations: Any, *, max_wait: float = 60.0, rate: float = 3600.0, watched: Watched | None = None
    ) -> int:
        """Builds what has no outcome yet, and returns the exit code: 0, or 3 when only pauses were left to wait for."""
        known = {record.clip_id: record.outcome for record in self.records.values()}
        plan = self.unfinished or make_plan(
            annotations,
            outcomes=known,
            settings=PlanSettings(clips_per_shard=4, retry=self.retry),
            held_locally=lambda clips: [],
            next_shard={"train": len(self.executor.written_shards)},
        )
        missing = [shard.name for shard in plan.shards() if shard.name not in self.executor.written_shards]
        run = PlanRun(self.dataset.store.uri, 0, plan, missing, 0, self.recipe, ["running"])
        executor: Any = self.executor
        disk = Disk(executor, self.recipe, None)
        lanes = Lanes(executor, self.dataset.store, {"it": self.source}, Pace(rate=rate, max_wait=max_wait))
        driver = Driver(
            run,
            {"it": self.source},
            executor,
            fetch=Fetching(executor, lanes, disk),
            process=Processing(executor, self.recipe, disk, time_limit=60.0),
            write=Writing(executor, run, disk),
            disk=disk,
            attempts=Attempts(self.dataset.store, lambda: self.executor.time),
        )
        seen = watched or Watched()
        watcher = Watcher(self.dataset.store, executor, log=seen.log)
        watcher.begin(run, sum(len(shard.clips) for shard in plan.shards() if shard.name in missing))
        self.charged = Counter()
        code = 0
        try:
            for events in driver.run():
                if watched is not None and (live := watcher.take(events, driver)) is not None:
                    watched.states.append(live)
                for event in events:
                    if isinstance(event, ClipFinished):
                        self.charged[event.record.outcome] += 1
                    elif isinstance(event, ClipTakenBack):
                        self.charged[event.record.outcome] -= 1
        except WorkRemains:
            code = 3
        if watched is not None:
            watched.states.append(watcher.observer.state(look_at(driver, self.executor.now())))
        self.unfinished = plan if code else None
        self.records = {r.video_id: r for records in self.executor.written_shards.values() for r in records}
        self.charged = +self.charged
        return code

    @property
    def outcomes(self) -> dict[str, str]:
        """Outcomes of committed shards, by video."""
        return {video: record.outcome for video, record in self.records.items()}
