"""`build`: finish what is unfinished, plan what is asked and has no outcome yet, and run it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import ray
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import DATASET, Dataset, plan_name
from kinetics_pipeline.dataset.withdraw import finish_withdrawals
from kinetics_pipeline.errors import JobFailed, WorkRemains
from kinetics_pipeline.flow import require_backend
from kinetics_pipeline.plan import Plan, PlannedShard, make_plan
from kinetics_pipeline.records import Record
from kinetics_pipeline.redaction import WITHHELD
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.attempts import Attempts
from kinetics_pipeline.workflows.building.cache_folders import Workplace, nodes, on_every_node
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.driver import Graph, Interrupted
from kinetics_pipeline.workflows.building.fetch import Fetching
from kinetics_pipeline.workflows.building.lease import Lease, is_current
from kinetics_pipeline.workflows.building.process import Processing
from kinetics_pipeline.workflows.building.request import Asked, asked_recipe, label_numbers, read_asked, say_what_is_odd
from kinetics_pipeline.workflows.building.stages import clear, spooled
from kinetics_pipeline.workflows.building.state import PROGRESS, RUN, look_at_lanes, traffic
from kinetics_pipeline.workflows.building.time_needed import expected
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.record import as_record, command_line
from kinetics_pipeline.workflows.runtime.cluster import connected, require_lasting
from kinetics_pipeline.workflows.runtime.progress import Meter, duration, size
from kinetics_pipeline.workflows.runtime.signals import stop_requested

SAY_EVERY = 5.0
"""Seconds between two notes of the progress for `status` in another terminal."""


def build(files: Sequence[str], config: BuildConfig) -> None:
    """See the module. Raises UserError, JobFailed, WorkRemains or KeyboardInterrupt; each leaves a dataset that the
    same command goes on with."""
    console = Console(stderr=True, highlight=False)
    for flag, place in (("--output", config.output), ("--cache", config.cache)):
        require_lasting(flag, place)
    asked = read_asked(files, config)
    say_what_is_odd(asked.annotations, console)
    store = open_store(config.output)
    existing = Dataset.open(config.output) if store.exists(DATASET) else None
    if existing is not None:
        existing.recipe.require_same(asked_recipe(config, existing.recipe))
        existing.require_classes(asked.annotations.labels)
    with Lease.acquire(store) as lease, connected(config.cpus), stop_requested() as should_stop:
        _Build(asked, config, lease, console, files, should_stop).run(existing)


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
    ) -> None:
        self.asked, self.config, self.lease, self.console = asked, config, lease, console
        self.files, self.should_stop = files, should_stop
        command = command_line("build", files, config)
        withheld = f" (put back what is {WITHHELD})" if WITHHELD in command else ""
        self.to_go_on = f"to go on{withheld}: {command}"
        self.seconds: dict[str, float] = defaultdict(float)
        self.outcomes: Counter[str] = Counter()
        self.bytes = 0
        self._noted = 0.0

    def run(self, existing: Dataset | None) -> None:
        config, lease = self.config, self.lease
        gpu = ray.cluster_resources().get("GPU", 0) > 0
        recipe = asked_recipe(config, existing.recipe if existing else None, gpu=gpu)
        if recipe.flow == "tvl1" and recipe.flow_backend == "cuda" and not gpu:
            require_backend("cuda")
            raise JobFailed("the recipe says flow on cuda, but the cluster has no GPU")
        self.dataset = Dataset.open_or_create(
            config.output, recipe, asked_labels(self.asked, existing), self.asked.annotations.hashes
        )
        lease.store.sweep()
        record = {"command": command_line("build", self.files, config, kept=True), "config": as_record(config)}
        lease.store.write(RUN, json.dumps(record, indent=1).encode())
        # A dataset that was removed and begun anew with other classes must not find the old one's clips.
        dataset = f"{lease.store.uri}\n{recipe}\n{self.dataset.classes}"
        self._lanes_before = look_at_lanes(lease.store)
        self.workplace = Workplace.of(cache_folder(config.cache), dataset)
        on_every_node(clear, self.workplace, everything=False)
        finish_withdrawals(self.dataset, self.workplace.scratch, lambda: is_current(lease.store, lease.generation))
        began = time.monotonic()
        while (unfinished := self.dataset.unfinished()) is not None:
            self._run_plan(*unfinished, self.dataset.outcomes())
        table = self.asked.annotations.table
        outcomes = self.dataset.settled(dict(zip(table["clip_id"], table["video_id"], strict=True)))
        plan = self._plan(outcomes)
        if len(plan):
            self._disk(list(plan.shards()))
            number = self.dataset.add_plan(plan)
            self._run_plan(number, plan, plan.shard_names(), outcomes)
        on_every_node(clear, self.workplace, everything=True)
        lease.store.sweep()  # a writer that was lost on the way
        lease.store.delete(PROGRESS)
        self._report(time.monotonic() - began)

    def _plan(self, outcomes: Mapping[str, str]) -> Plan:
        return make_plan(
            self.asked.annotations.table,
            outcomes=outcomes,
            settings=self.asked.settings,
            held_locally=self.asked.held_locally,
            next_shard=self.dataset.next_shard_numbers(),
        )

    def _disk(self, shards: Sequence[PlannedShard]) -> Disk:
        """The cache's disk, which is large enough for any one of the shards. Raises UserError or JobFailed if not."""
        disk = Disk(self.workplace, self.dataset.recipe, self.config.max_disk, self.asked.notes)
        disk.require(shards)
        return disk

    def _run_plan(self, number: int, plan: Plan, missing: Sequence[str], outcomes: Mapping[str, str]) -> None:
        """`outcomes`: what was known of clips before."""
        config = self.config
        found = self._spooled()
        shards = [shard for shard in plan.shards() if shard.name in set(missing)]
        clips = sum(len(shard.clips) for shard in shards)
        disk = self._disk(shards)
        numbers = label_numbers(self.dataset.classes)
        sources = dict(zip(self.asked.keys, self.asked.sources, strict=True))
        attempts = Attempts(self.lease.store)
        familiar = {
            clip.video_id
            for shard in shards
            for clip in shard.clips
            if outcomes.get(clip.clip_id) in ("no_format", "internal") or attempts.was_doubted(clip.clip_id)
        }
        fetching = Fetching(
            self.workplace,
            self.lease.store,
            sources,
            disk,
            rate=config.rate,
            proxies=config.proxy,
            egress=config.egress,
            time_limit=config.clip_time_limit,
            cool_down=config.cool_down,
            familiar=familiar,
        )
        processing = Processing(self.workplace, self.dataset.recipe, disk, config.clip_time_limit, config.keep_clips)
        with Meter(clips, "clips") as meter:
            meter.say(f"plan {plan_name(number)}: {clips} clips in {len(missing)} shards")
            if found:
                meter.say(f"{len(found)} clips were finished by an earlier run")
            found |= withdrawn_clips(self.dataset, shards)
            paced = any(isinstance(source, YouTube) for source in self.asked.sources)
            budgets = {"shared": 1, "per-node": len(nodes()), "per-proxy": len(config.proxy)}
            rate = config.rate * budgets[config.egress]
            time_needed = expected(self.dataset, plan, set(missing), rate=rate if paced else None)
            meter.say(f"expected: {time_needed}")

            def on_change(graph: Graph) -> None:
                self._take(graph, meter)

            graph = Graph(
                uri=self.lease.store.uri,
                plan_name=plan_name(number),
                plan=plan,
                missing=missing,
                generation=self.lease.generation,
                recipe=self.dataset.recipe,
                classes=self.dataset.classes,
                label_of=lambda clip: numbers[clip.label],
                sources=sources,
                workplace=self.workplace,
                fetching=fetching,
                processing=processing,
                disk=disk,
                attempts=attempts,
                spooled=found,
                max_wait=config.max_wait,
                on_change=on_change,
                should_stop=self.should_stop,
            )
            try:
                graph.run()
            except Interrupted:
                print(f"interrupted; {self.to_go_on}", file=sys.stderr)
                raise KeyboardInterrupt from None
            except WorkRemains as remains:
                raise WorkRemains(f"{remains}; {self.to_go_on}") from None

    def _take(self, graph: Graph, meter: Meter) -> None:
        """Takes the driver's new records into the report, and says how far it is."""
        for record in graph.finished:
            self.outcomes[record.outcome] += 1
            for stage, seconds in record.seconds.items():
                self.seconds[stage] += seconds
        for record in graph.taken_back:
            self.outcomes[record.outcome] -= 1
        done = meter.done + len(graph.finished) - len(graph.taken_back)
        graph.taken_back.clear()
        graph.finished.clear()
        note = [f"{graph.committed_shards} shards"]
        resumes = graph.fetching.resumes_at()
        if resumes is not None:
            note.append(f"an egress is paused until {time.strftime('%H:%M', time.localtime(resumes))}")
        if self.outcomes["ok"] < sum(self.outcomes.values()):
            note.append(f"{sum(self.outcomes.values()) - self.outcomes['ok']} failed")
        meter.at(done, ", ".join(note))
        if time.monotonic() - self._noted > SAY_EVERY:
            self._noted = time.monotonic()
            state = {"done": done, "total": meter.total, "per_second": meter.rate, "time": time.time()}
            self.lease.store.write(PROGRESS, json.dumps(state).encode())

    def _spooled(self) -> dict[str, tuple[str, Record]]:
        """Clips that earlier runs finished, with the node that has them."""
        found: dict[str, tuple[str, Record]] = {}
        for node, records in on_every_node(spooled, self.workplace):
            found |= {record.clip_id: (node, record) for record in records}
        if self.config.keep_clips is not None:
            kept = {PurePosixPath(name).stem for name, _ in open_store(self.config.keep_clips).list()}
            found = {clip: one for clip, one in found.items() if clip in kept or one[1].outcome != "ok"}
        return found

    def _report(self, seconds: float) -> None:
        """What this run did and what the dataset now holds, on stdout."""
        console = Console(highlight=False)
        counts = self.dataset.counts()
        table = Table("outcome", "this run", "dataset", box=None, pad_edge=False)
        for outcome, total in {"ok": counts.ok, **counts.failed}.items():
            table.add_row(outcome, str(self.outcomes[outcome]), str(total))
        console.print(table)
        if made := sum(self.outcomes.values()):
            console.print(f"{made} clips in {duration(seconds)} ({made / seconds:.2f}/s)")
            spent = sorted(self.seconds.items(), key=lambda item: -item[1])
            console.print("seconds by stage: " + ", ".join(f"{stage} {value:.1f}" for stage, value in spent))
        else:
            console.print("nothing to do: every clip asked has an outcome")
        if fetched := traffic(self._lanes_before, look_at_lanes(self.lease.store)):
            console.print(fetched)
        console.print(f"{counts.shards} shards, {size(counts.bytes)} in {self.lease.store.uri}", soft_wrap=True)


def withdrawn_clips(dataset: Dataset, shards: Sequence[PlannedShard]) -> dict[str, tuple[str, Record]]:
    """Planned clips that were withdrawn since, as clips that are finished on no node."""
    reasons = dataset.withdrawn()
    return {
        clip.clip_id: (
            "",
            Record(clip.clip_id, clip.video_id, clip.time_start, clip.time_end, clip.label, "withdrawn", reason),
        )
        for shard in shards
        for clip in shard.clips
        if (reason := reasons.get(clip.clip_id) or reasons.get(clip.video_id)) is not None
    }


def asked_labels(asked: Asked, existing: Dataset | None) -> list[str]:
    """The class list to begin a dataset with; an existing one keeps its own."""
    return existing.classes if existing is not None else asked.annotations.labels
