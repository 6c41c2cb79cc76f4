"""`build`: the command, and the call. What is done in which order says `dataset_build`; here it is told, and can be
interrupted."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

import pyarrow.compute as pc
import ray
from rich.console import Console

from kinetics_pipeline.dataset.dataset import DATASET, Dataset
from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.plan import NETWORK, Plan
from kinetics_pipeline.recipe import Recipe, uses_gpu
from kinetics_pipeline.records import ENLARGED, Record
from kinetics_pipeline.redaction import WITHHELD, counted
from kinetics_pipeline.shards.writer import Superseded
from kinetics_pipeline.sources.base import is_network
from kinetics_pipeline.sources.youtube.texts import FINDINGS
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.storage.mapped_table import on_disk
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.advice import advice, command_of
from kinetics_pipeline.workflows.building.archives.build import CopiesBuild
from kinetics_pipeline.workflows.building.archives.freezing import AskedArchives
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.copies import may_hold
from kinetics_pipeline.workflows.building.dataset_build import DatasetBuild, Limits, Waiting, WantedClips
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.events import BuildEvent, ClipFinished, ShardCommitted
from kinetics_pipeline.workflows.building.lanes import Pace
from kinetics_pipeline.workflows.building.lease import Lease, LeaseHeld
from kinetics_pipeline.workflows.building.placement.backend import Settling
from kinetics_pipeline.workflows.building.placement.cluster import RayCluster, unplaced
from kinetics_pipeline.workflows.building.ray_executor import RayExecutor
from kinetics_pipeline.workflows.building.reconciliation import (
    SUMMARY_COLUMNS,
    enlarged_from,
    note_sources,
    refresh_summaries,
    write_summaries,
)
from kinetics_pipeline.workflows.building.request import Asked, asked_recipe, read_asked, say_what_is_odd
from kinetics_pipeline.workflows.building.result import BuildResult
from kinetics_pipeline.workflows.building.state import RUN, look_at_lanes, traffic
from kinetics_pipeline.workflows.building.time_needed import Expectation, expected
from kinetics_pipeline.workflows.building.watch.event_log import EventLog, log_folder
from kinetics_pipeline.workflows.building.watch.exporters import Exporter, MetricsPort, RayMetrics
from kinetics_pipeline.workflows.building.watch.live import Live
from kinetics_pipeline.workflows.building.watch.notify import Notifier
from kinetics_pipeline.workflows.building.watch.waiting import NodesAwaited
from kinetics_pipeline.workflows.building.watch.watcher import Watcher
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.record import as_record, command_line
from kinetics_pipeline.workflows.flags.values import host_and_port, words_of
from kinetics_pipeline.workflows.runtime.cluster import addressed, connected, require_lasting
from kinetics_pipeline.workflows.runtime.memory import give_back_memory
from kinetics_pipeline.workflows.runtime.progress import Meter
from kinetics_pipeline.workflows.runtime.signals import stop_requested
from kinetics_pipeline.workflows.runtime.slow_calls import slow_calls_told

INDEX_EVERY = 500
"""Shards committed between two writings of the index of markers."""
Say = Callable[[str], None]
SAY_AGAIN = 600.0
"""Seconds after which it is told again that nothing goes on for the same reason."""


def build(files: Sequence[str], config: BuildConfig) -> None:
    """Builds, and prints what was done. Raises as `build_dataset`."""
    build_dataset(files, config).print()


def build_dataset(files: Sequence[str], config: BuildConfig) -> BuildResult:
    """See the module. Raises UserError, JobFailed, WorkRemains or KeyboardInterrupt; each leaves a dataset that the
    same command goes on with."""
    console = Console(stderr=True, highlight=False, force_jupyter=False)
    for flag, place in (
        ("--output", config.output),
        ("--cache", config.cache),
        ("--keep-archives", config.keep_archives),
    ):
        require_lasting(flag, place)
    asked = read_asked(files, config)
    say_what_is_odd(asked.annotations, console)
    columns = on_disk(asked.annotations.columns, cache_folder(config.cache))
    asked = replace(asked, annotations=replace(asked.annotations, columns=columns))
    give_back_memory()
    slow = [lambda line: console.print(f"no progress: {line}", markup=False, soft_wrap=True)]
    with slow_calls_told(slow, of_ray=True):
        return _build_asked(asked, config, console, files, slow)


def _build_asked(
    asked: Asked, config: BuildConfig, console: Console, files: Sequence[str], slow: list[Say]
) -> BuildResult:
    """`slow`: who is told of a store, or of a cluster, that keeps this process waiting."""
    store = open_store(config.output)
    existing = Dataset.open(config.output) if store.exists(DATASET) else None
    if existing is not None:
        existing.recipe.require_same(asked_recipe(config, existing.recipe))
        existing.require_classes(asked.annotations.labels)
    with Lease.acquire(store) as lease, connected(config.cpus), stop_requested() as should_stop:
        with ExitStack() as unfinished:
            unfinished.callback(refresh_summaries, config.output)
            result = _Build(asked, config, lease, console, files, should_stop, slow).run(existing)
            unfinished.pop_all()  # a whole build has written them itself
        return result


class _Build:
    """One build that holds the lease and is connected to Ray."""

    def __init__(
        self,
        asked: Asked,
        config: BuildConfig,
        lease: Lease,
        console: Console,
        files: Sequence[str],
        should_stop: Callable[[], bool],
        slow: list[Say],
    ) -> None:
        self.asked, self.config, self.lease, self.console = asked, config, lease, console
        self.files, self.should_stop, self.slow = files, should_stop, slow
        command = command_line("build", files, config)
        withheld = f" (put back what is {WITHHELD})" if WITHHELD in command else ""
        self.to_go_on = f"to go on{withheld}: {command}"
        self.shards = 0
        """Committed by the plan that is running."""
        self._found: set[str] = set()
        self._told = "", ""
        """Source and detail of the last record that findings were looked for in."""
        self._stalled: dict[str, float] = {}
        """Reasons for which nothing went on, without their numbers, with when they were told (monotonic)."""

    def run(self, existing: Dataset | None) -> BuildResult:
        config, lease, cluster = self.config, self.lease, RayCluster()
        recipe = self._settled_recipe(existing.recipe if existing else None, cluster)
        self.dataset = Dataset.open_or_create(
            config.output, recipe, asked_labels(self.asked, existing), self.asked.annotations.hashes
        )
        for line in self.asked.annotations.changed_since(self.dataset.annotations):
            self.console.print(line, markup=False, soft_wrap=True)
        lease.store.sweep()
        record = {"command": command_line("build", self.files, config, kept=True), "config": as_record(config)}
        lease.store.write(RUN, json.dumps(record, indent=1).encode())
        self._lanes_before = look_at_lanes(lease.store)
        folders = CacheFolders.of_dataset(cache_folder(config.cache), self.dataset)
        limits = self._limits()
        grows = cluster.autoscaler() is not None
        self.executor = RayExecutor(folders, self._say, on_gpu=uses_gpu(recipe), slots=limits.pace.slots, grows=grows)
        began = time.monotonic()
        build = self._build(lease, limits)
        try:
            with self._watcher(recipe, folders) as self.watcher:
                self.slow.append(self.watcher.held_up)
                for step in build.drivers(folders.scratch):
                    give_back_memory()
                    if isinstance(step, Driver):
                        self._run(step, build.can_go_on)
                    else:
                        self._wait_for(step)
                self.watcher.forget()
        except (LeaseHeld, Superseded):
            lease.renew()  # finds out who has taken over
            lease.require_held()
            raise
        except WorkRemains as remains:
            raise WorkRemains(f"{remains}; {self.to_go_on}") from None
        note_sources(lease.store, self.asked)
        with self.dataset.one_reading(SUMMARY_COLUMNS, lambda marker: None):
            self.dataset.refresh_index()
            result = self._result(time.monotonic() - began)
            write_summaries(self.dataset)
            return result

    def _settled_recipe(self, existing: Recipe | None, cluster: RayCluster) -> Recipe:
        """The recipe, with a flow backend that a node has computed a pair with. Raises as `Settling.backend` and
        `_require_going`."""
        config = self.config
        asked = config.flow_backend if config.flow_backend != "auto" else None
        try:
            with NodesAwaited(self.lease.store) as awaited:
                settling = Settling(cluster, self._say, config.max_wait, self._require_going, awaited.show)
                backend = settling.backend(config.flow, asked, existing.flow_backend if existing else None)
        except WorkRemains as remains:
            raise WorkRemains(f"{remains}; {self.to_go_on}") from None
        return asked_recipe(config, existing, backend)

    def _watcher(self, recipe: Recipe, folders: CacheFolders) -> Watcher:
        """Raises UserError where the port of the metrics cannot be opened."""
        config = self.config
        exporters: list[Exporter] = [RayMetrics()] if addressed() else []
        if config.metrics_port is not None:
            session = str(ray.get_runtime_context().get_session_name())
            exporters.append(MetricsPort(*host_and_port(config.metrics_port), session))
        return Watcher(
            self.lease.store,
            self.executor,
            gpus=partial(_gpus, recipe),
            unplaced=unplaced,
            lacks=self.executor.lacks,
            log=EventLog(log_folder(folders.root.parent, folders.root.name)),
            exporters=exporters,
            notifier=None if config.notify is None else Notifier(words_of(config.notify), self._say),
        )

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

    def _build(self, lease: Lease, limits: Limits) -> DatasetBuild:
        asked = self.asked
        sources = dict(zip(asked.keys, asked.sources, strict=True))
        wanted = WantedClips(asked.annotations.columns, asked.settings, asked.held_locally)
        if not asked.copies:
            return DatasetBuild(self.dataset, lease, self.executor, sources, wanted, limits)
        archives = AskedArchives(
            tuple(one for copy in asked.copies.values() for one in copy.archives),
            {key: copy.name for key, copy in asked.copies.items()},
            tuple(copy.typed for copy in asked.copies.values()),
            self.config.allow_private_addresses,
            self.config.archives_per_plan,
            partial(may_hold, labels=asked.annotations.labels),
            self._say,
            self.config.keep_archives,
        )
        return CopiesBuild(self.dataset, lease, self.executor, sources, wanted, limits, archives)

    def _wait_for(self, step: Waiting) -> None:
        """Waits for what the next plan needs; says nothing where that is there already."""
        with closing(step.run()) as rounds, ExitStack() as stack:
            meter: Meter | None = None
            for _ in rounds:
                if meter is None:
                    meter = stack.enter_context(Meter(step.total, step.things, done=step.done))
                    self.watcher.begin_to_wait(step.things, step.total)
                meter.at(step.done)
                self._say_what_stalls(self.watcher.waited(step.done, step.unanswered), meter)
                self._require_going()

    def _require_going(self) -> None:
        """Raises KeyboardInterrupt when the user wants an end, LeaseHeld when another build has taken over."""
        self.lease.require_held()
        if self.should_stop():
            print(f"interrupted; {self.to_go_on}", file=sys.stderr)
            raise KeyboardInterrupt

    def _limits(self) -> Limits:
        config = self.config
        pace = Pace(
            rate=config.rate,
            proxies=config.proxy,
            sharing=config.egress,
            time_limit=config.clip_time_limit,
            cool_down=config.cool_down,
            max_wait=config.max_wait,
        )
        return Limits(pace, max_disk=config.max_disk, notes=self.asked.notes, keep_clips=config.keep_clips)

    def _run(self, driver: Driver, can_go_on: Callable[[], bool]) -> None:
        run = driver.plan_run
        missing = set(run.missing)
        sources = run.plan.of_shards(missing).table["source"]
        clips, fetched = len(sources), pc.sum(pc.equal(sources, NETWORK)).as_py() or 0
        del sources  # it holds the table
        self.shards = 0
        with Meter(clips, "clips") as meter:
            self.watcher.begin(run, clips, fetched)
            meter.say(f"plan {run.plan_name}: {counted(clips, 'clip')} in {counted(len(missing), 'shard')}")
            if found := sum(one.node is not None for one in run.finished.values()):
                meter.say(f"{counted(found, 'clip was', 'clips were')} finished by an earlier run")
            meter.say(f"expected: {self._time_needed(run.plan, missing)}")
            give_back_memory()  # of the parts of the plan that were looked at
            with closing(driver.run()) as rounds:
                for events in rounds:
                    self._tell(events, driver, meter)
                    self._require_going()
                    if not can_go_on():
                        break
            self.executor.end_removals()

    def _time_needed(self, plan: Plan, missing: set[str]) -> Expectation:
        config = self.config
        paced = any(is_network(source) and source.paced for source in self.asked.sources)
        budgets = {"shared": 1, "per-node": len(self.executor.nodes()), "per-proxy": len(config.proxy)}
        rate = config.rate * budgets[config.egress]
        return expected(self.dataset, plan, missing, rate=rate if paced else None)

    def _tell(self, events: Sequence[BuildEvent], driver: Driver, meter: Meter) -> None:
        """Has what happened counted, and says how far the build is."""
        live, seen = self.watcher.take(events, driver), self.watcher.observer
        for event in events:
            if isinstance(event, ClipFinished):
                self._say_findings(event.record, meter)
            elif isinstance(event, ShardCommitted):
                self.shards += 1
                if self.shards % INDEX_EVERY == 0:
                    self.dataset.refresh_index()
                    give_back_memory()
        note = [counted(self.shards, "shard")]
        resumes = driver.fetch.lanes.resumes_at(self.executor.now())
        if resumes is not None:
            note.append(f"an egress is paused until {time.strftime('%H:%M', time.localtime(resumes))}")
        if failed := seen.outcomes.total() - seen.outcomes["ok"]:
            note.append(f"{failed} failed")
        meter.at(seen.done, ", ".join(note))
        self._say_what_stalls(live, meter)

    def _say_what_stalls(self, live: Live | None, meter: Meter) -> None:
        """Why nothing goes on, where it was looked at; the same reason again after a while only."""
        if live is None:
            return
        meter.left, meter.is_stalled = live.left, bool(live.no_progress) or live.left is None
        if not live.no_progress:
            return
        reason, now = re.sub(r"[\d,.]+", "", live.no_progress), time.monotonic()
        if now - self._stalled.get(reason, float("-inf")) > SAY_AGAIN:
            self._stalled[reason] = now
            meter.say(f"no progress: {live.no_progress}")

    def _say_findings(self, record: Record, meter: Meter) -> None:
        """What a failure says of the user's network, and a small picture of its source, once for all clips; `advice`
        says at the end what to do."""
        if (record.source, record.detail) == self._told:  # many clips fail alike
            return
        self._told = record.source, record.detail
        for detail in sorted(FINDINGS.keys() & set(record.detail.split("; ")) - self._found):
            self._found.add(detail)
            meter.say(f"found: {detail} (clip {record.clip_id}; others may follow)")
        if (side := enlarged_from(record.detail)) and f"{ENLARGED}{record.source}" not in self._found:
            self._found.add(f"{ENLARGED}{record.source}")
            asked = f"--short-side {self.config.short_side} ({side}, clip {record.clip_id})"
            meter.say(f"found: pictures of {record.source} smaller than {asked}: enlarged; others may follow")

    def _result(self, seconds: float) -> BuildResult:
        counts, seen = self.dataset.counts(), self.watcher.observer
        return BuildResult(
            dataset=self.lease.store.uri,
            made={outcome: number for outcome, number in seen.outcomes.items() if number},
            ok=counts.ok,
            failed=counts.failed,
            shards=counts.shards,
            bytes=counts.bytes,
            seconds=seconds,
            stages=dict(seen.seconds),
            traffic=traffic(self._lanes_before, look_at_lanes(self.lease.store)) or "",
            advice=tuple(advice(counts.reasons, command_of(self.dataset))),
        )


def asked_labels(asked: Asked, existing: Dataset | None) -> list[str]:
    """The class list to begin a dataset with; an existing one keeps its own."""
    return existing.classes if existing is not None else asked.annotations.labels


def _gpus(recipe: Recipe) -> int:
    """GPUs that clips are processed on; 0 where cores do it."""
    return int(ray.cluster_resources().get("GPU", 0)) if uses_gpu(recipe) else 0
