"""The driver: walks the shards of a plan, moves every clip through its sources, and has each full shard written.

It is composed of three stages (`fetch`, `process`, `write`) and sees small records only. At any time a bounded number
of shards is open, and a slow clip holds up its own shard alone. Shards of local files and shards that need the network
are walked side by side: neither waits for the other. Time and work come from an `Executor`, so the same driver runs
under Ray and in a simulation.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import cast

from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.records import Record, Spent
from kinetics_pipeline.sources.base import LocalSource, NetworkSource, is_network
from kinetics_pipeline.sources.pace.retries import Done, Event, Try, decide
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.events import (
    BuildEvent,
    ClipFinished,
    ClipProcessed,
    ClipTakenBack,
    ClipTriedAgain,
    ShardCommitted,
    VideoFetched,
)
from kinetics_pipeline.workflows.building.executor import Executor, Lost, Moment
from kinetics_pipeline.workflows.building.fetch import FetchAnswer, Fetching
from kinetics_pipeline.workflows.building.open_shards import LOCAL, NETWORK, ClipInProgress, OpenShard, OpenShards
from kinetics_pipeline.workflows.building.plan_run import FinishedClip, PlanRun
from kinetics_pipeline.workflows.building.process import Candidate, ClipJob, Processed, Processing
from kinetics_pipeline.workflows.building.state import Attempts
from kinetics_pipeline.workflows.building.write import Committed, RowsMissing, Writing, Written

TICK = 0.5
"""Seconds the driver waits for something to happen before it looks at the clock."""
KEEP_EVERY = 2.0
"""Seconds between two looks at which nodes have files that are needed."""
LOST_AT_MOST = 3
"""Times that a clip's work may vanish with its worker before that counts as an attempt."""

GONE_AT_MOST, GONE_WAIT = 30, 2.0
"""Times that a clip's archive may be gone with its node before that counts likewise, and seconds between two tries."""


class Driver:
    """One run over the missing shards of one plan."""

    def __init__(
        self,
        run: PlanRun,
        sources: Mapping[str, LocalSource | NetworkSource],
        executor: Executor,
        *,
        fetch: Fetching,
        process: Processing,
        write: Writing,
        disk: Disk,
        attempts: Attempts,
    ) -> None:
        """`sources`: by their keys, in the order in which they are tried."""
        self.plan_run, self.sources, self.executor = run, sources, executor
        self._keys = list(sources)
        self.fetch, self.process, self.write = fetch, process, write
        self.disk, self.attempts = disk, attempts
        self.shards = OpenShards(run, disk)
        self._clips = self.shards.clips
        self.later: list[tuple[float, int, str, str]] = []
        """Tries to be made later: when (monotonic), a number that keeps their order, clip, key of the source."""
        self._numbers = itertools.count()
        self._idle_since: float | None = None
        """Since when nothing came back but refusals, and there was nothing else to do (Unix time)."""
        self._without_downloads: set[str] = set()
        """Videos whose downloads were removed before their shard was committed."""
        self._gave_up = False
        """Whether nothing has gone on since downloads were removed for want of room."""
        self._first: OpenShard | None = None
        """The only shard that is fetched for, while room is short; None: all of them."""
        self._events: list[BuildEvent] = []
        self._kept = -math.inf
        """When it was last said which nodes are needed (monotonic)."""
        self._found_on = Counter(one.node for one in run.finished.values() if one.node is not None)
        """Node -> clips there that an earlier run finished and no shard holds yet."""

    def run(self) -> Generator[list[BuildEvent], None, None]:
        """Works until all shards are committed; yields what happened, about twice a second, and can be stopped there.

        Raises WorkRemains when only paused egresses are left for longer than is waited, JobFailed when another build
        took over.
        """
        try:
            while self._open_shards(self.executor.now()) or self._clips or self.write.running:
                self.disk.look()
                self._start(self.executor.now())
                self._wait()
                self.attempts.save()
                events, self._events = self._events, []
                yield events
        finally:
            self.attempts.save(at_once=True)

    # From a shard to its clips

    def _open_shards(self, now: Moment) -> bool:
        """Opens shards while there is room; whether any shard was opened."""
        opened = False
        for walk in (LOCAL, NETWORK):
            # Shards of the network are opened whatever waits for the cores: the lanes say how fast they are fetched.
            while walk == NETWORK or self.process.backlog < 4 * self.process.places:
                shard = self.shards.open_next(walk, self._being_made())
                if shard is None:
                    break
                for clip in shard.clips:
                    self._begin_clip(self._clips[clip.clip_id], now)
                opened = True
        return opened

    def _being_made(self) -> set[str]:
        return {job.clip.clip_id for job, _ in self.process.running.values()}

    def _begin_clip(self, one: ClipInProgress, now: Moment) -> None:
        """A clip whose shard has just been opened: finished by an earlier run, or to be begun."""
        known = self.plan_run.finished.get(one.clip.clip_id)
        if known is not None:
            self._finish(one, known)
            return
        before = self.attempts.of(one.clip.clip_id)
        if before and isinstance(decide(before, self._keys), Done):
            self.attempts.ask_again(one.clip.clip_id)
        self._advance(one, now, delay=False)

    def _advance(self, one: ClipInProgress, now: Moment, *, delay: bool = True) -> None:
        """Does what the policy says of everything tried so far."""
        while True:
            decision = decide(self.attempts.of(one.clip.clip_id), self._keys)
            if isinstance(decision, Done):
                spent = Spent(one.requests, one.seconds)
                record = Record.of(one.clip, decision.outcome, decision.detail, spent).at(now.unix)
                self._finish(one, FinishedClip(record, None))
                return
            if delay:
                self._events.append(ClipTriedAgain(one.clip.clip_id, decision.after_seconds))
            if delay and decision.after_seconds > 0:
                due = now.monotonic + decision.after_seconds
                one.on_network = is_network(self.sources[decision.source])
                heapq.heappush(self.later, (due, next(self._numbers), one.clip.clip_id, decision.source))
                return
            if self._try(one, decision):
                return

    def _try(self, one: ClipInProgress, step: Try) -> bool:
        """Starts one try; False when a local source has no file for the clip, which is now an event."""
        source = self.sources[step.source]
        if is_network(source):
            one.on_network = True
            self.fetch.lanes.want(step.source, one.clip)
            return True
        media = cast(LocalSource, source).candidates(one.clip)
        if not media:
            self.attempts.add(one.clip.clip_id, Event(step.source, "not_found", f"{source.name}: no file"))
            return False
        here = self.executor.here()
        nodes = [(file.inside.node if file.inside is not None else None) or here for file in media]
        found = [Candidate(file, node, fetched=False) for file, node in zip(media, nodes, strict=True)]
        self._process(one, step.source, found)
        return True

    def _process(self, one: ClipInProgress, source: str, candidates: Sequence[Candidate]) -> None:
        one.on_network = False
        details = dict.fromkeys(event.detail for event in self.attempts.of(one.clip.clip_id) if event.detail)
        spent = Spent(one.requests, dict(one.seconds), "; ".join(details))
        self.process.add(one.clip, self.plan_run.label(one.clip), source, candidates, spent)

    # What may begin

    def _start(self, now: Moment) -> None:
        while self.later and self.later[0][0] <= now.monotonic:
            _, _, clip_id, source = heapq.heappop(self.later)
            self._try(self._clips[clip_id], Try(source, 0.0))
        self._write_what_is_full()
        if self._first is not None and self._first.is_full:  # it may wait for others to say whether a failure counts
            self._first = self._unfinished_shard()
        if self._first is not None:
            self.fetch.lanes.put_first(clip.video_id for clip in self._first.clips)
        self.fetch.dispatch(self._ahead(), self._allowance, now)
        self.process.dispatch(now)
        if now.monotonic - self._kept >= KEEP_EVERY:
            self._kept = now.monotonic
            self.executor.keep_nodes(self._needed_nodes())

    def _needed_nodes(self) -> set[str]:
        """The nodes that have downloads which are not processed, or finished clips that are in no shard yet."""
        jobs = [*self.process.waiting, *(job for job, _ in self.process.running.values())]
        nodes = {candidate.node for job in jobs for candidate in job.candidates if candidate.fetched}
        nodes |= {one.node for shard in self.shards for one in shard.finished.values() if one.node is not None}
        return nodes | {node for node, clips in self._found_on.items() if clips > 0}

    def _write_what_is_full(self) -> None:
        """A shard with a failure that may yet turn out to be a burst's waits until that is known."""
        full = [shard for shard in self.shards if shard.is_full and not self.write.is_running(shard.name)]
        suspected = self.fetch.lanes.suspected(more_to_come=bool(self.later)) if full else frozenset()
        for shard in full:
            failed = {one.record.video_id for one in shard.finished.values() if one.node is None}
            if not failed & suspected:
                self.write.start_if_there_is_room(shard)

    def _ahead(self) -> int:
        """Videos that may be fetched ahead of the cores."""
        ahead = 2 * self.process.places + self.fetch.slots
        return ahead - self.process.fetched_backlog - len(self.fetch.running)

    def _allowance(self, video_id: str) -> int | None:
        """The bytes that a download of the video may write, or None when it has to wait for room."""
        if self._first is not None:
            wanted = {clip.video_id for clip in self._first.clips}
            return self.disk.download(video_id, self._still_to_come()) if video_id in wanted else None
        allowance = self.disk.download(video_id, self._still_to_come())
        if allowance is None:
            self._make_room()
        return allowance

    def _still_to_come(self) -> int:
        return self.shards.still_to_come(self._being_made(), self._first)

    def _make_room(self) -> None:
        """Removes the downloads of finished clips before their shard is committed. At worst, should the node with the
        finished clip go, one is fetched again."""
        done = self.shards.finished_videos() - self._without_downloads
        self._without_downloads |= done
        self.fetch.forget(done)

    def _give_up(self) -> bool:
        """Nothing is in flight and there is no room: removes whatever is not needed at once (downloads of which no clip
        is made now, save those of videos that can never fit; what a writer that died left; rows that nobody counts on),
        and from then on the oldest shard comes first. False when nothing has gone on since the last time."""
        if self._gave_up:
            return False
        self._gave_up = True
        self._first = self._unfinished_shard()
        plan, missing = self.plan_run.plan, set(self.plan_run.missing)
        needed = {job.clip.video_id for job in self.process.waiting} | self.disk.impossible_downloads()
        self.fetch.forget(set(plan.table["video_id"].to_pylist()) - needed)
        counted_on = {(one, known.node) for shard in self.shards for one, known in shard.finished.items()}
        for clip_id in plan.of_shards(missing).clip_ids():
            if clip_id not in self._clips and (known := self.plan_run.finished.get(clip_id)) is not None:
                counted_on.add((clip_id, known.node))
        executor = self.disk.executor
        executor.clear(everything=False)
        for node, records in executor.finished_clips():
            if unknown := [one.clip_id for one in records if (one.clip_id, node) not in counted_on]:
                self.write.executor.forget_rows(node, unknown)
        return True

    def _unfinished_shard(self) -> OpenShard | None:
        """The oldest."""
        return next((shard for shard in self.shards if not shard.is_full), None)

    # What comes back

    def _wait(self) -> None:
        refs = [*self.process.running, *self.fetch.running, *self.write.running]
        if not refs:
            self._rest()
            return
        ended = self.executor.wait(refs, TICK)
        now = self.executor.now()
        for ref in ended:
            if ref in self.process.running:
                self._processed(*self.process.result(ref), now)
            elif ref in self.fetch.running:
                self._fetched(self.fetch.result(ref, now), now)
            else:
                self._written(*self.write.result(ref), now)

    def _rest(self) -> None:
        """Nothing runs: a later try is awaited, or a paused egress."""
        now = self.executor.now()
        if not self.later and self.disk.is_stuck(now) and not self._give_up():
            self.disk.require_possible(now)
        later = [(source, self._clips[clip_id].clip.video_id) for _, _, clip_id, source in self.later]
        resumes = None
        if all(is_network(self.sources[source]) for source, _ in later):
            resumes = self.fetch.lanes.resumes_at(now, later)
        if resumes is not None:
            self._idle_since = self._idle_since or now.unix
            if resumes - self._idle_since > self.fetch.lanes.pace.max_wait:
                until = time.strftime("%H:%M", time.localtime(resumes))
                raise WorkRemains(f"every egress that is left is paused, the first until {until}")
        self.executor.rest(TICK / 5)

    def _fetched(self, answer: FetchAnswer, now: Moment) -> None:
        job, result = answer.job, answer.result
        self._events.append(VideoFetched(answer))
        if not (answer.is_refused or isinstance(result, Lost)):
            self._idle_since = None
        for one in (self._clips[clip.clip_id] for clip in job.clips):
            if isinstance(result, Lost):
                self._lost(one, job.source_key, result, now)
                continue
            download = result.download
            if download.no_room:
                self._gave_up = False  # it asks for more the next time, so that this comes to an end
                self.fetch.lanes.want(job.source_key, one.clip)
                continue
            one.requests += download.requests
            one.seconds["fetch"] = one.seconds.get("fetch", 0.0) + round(result.seconds / len(job.clips), 3)
            media = download.media.get(one.clip.clip_id)
            if media is not None:
                self._gave_up = False
                self._process(one, job.source_key, [Candidate(media, result.node, fetched=True)])
                continue
            assert download.failure is not None, f"{job.video_id}: neither a file nor a failure"
            failure = download.failure
            self.attempts.add(one.clip.clip_id, Event(job.source_key, failure.outcome, failure.detail))
            self._advance(one, now)
        self._take_back(answer.doubted, now)

    def _take_back(self, videos: frozenset[str], now: Moment) -> None:
        """A burst of doubtful failures says that the extractor is broken or the address blocked: none of the videos
        concerned is charged with it, and those that had come to their end begin again."""
        for clip_id, one in self._clips.items():
            if one.clip.video_id not in videos or self.write.is_running(one.shard.name):
                continue
            if self.attempts.uncharge(clip_id) and one.is_finished:
                self._events.append(ClipTakenBack(one.shard.finished.pop(clip_id).record))
                self._advance(one, now, delay=False)

    def _processed(self, job: ClipJob, result: Processed | Lost, now: Moment) -> None:
        one = self._clips[job.clip.clip_id]
        self._events.append(ClipProcessed(job, result))
        if isinstance(result, Lost):
            self._lost(one, job.source_key, result, now)
            return
        record = result.record
        self._idle_since = None
        one.seconds.update(record.seconds)
        if record.outcome == "ok":
            self.disk.learn(record.frames, result.bytes)
            self._finish(one, FinishedClip(record, result.node))
            return
        self.attempts.add(record.clip_id, Event(job.source_key, record.outcome, record.detail))
        self._advance(one, now)

    def _lost(self, one: ClipInProgress, source: str, lost: Lost, now: Moment) -> None:
        """Work that vanished says nothing of the clip, unless it keeps happening to the same one."""
        one.lost += 1
        if lost.archive_gone and one.lost < GONE_AT_MOST:  # until it is known that the node is gone
            due = now.monotonic + GONE_WAIT
            heapq.heappush(self.later, (due, next(self._numbers), one.clip.clip_id, source))
            return
        if one.lost >= LOST_AT_MOST:
            one.lost = 0
            self.attempts.add(one.clip.clip_id, Event(source, "internal", lost.reason))
        self._advance(one, now, delay=one.lost == 0)

    def _finish(self, one: ClipInProgress, finished: FinishedClip) -> None:
        one.shard.finished[one.clip.clip_id] = finished
        self._events.append(ClipFinished(finished.record))

    def _written(self, shard: OpenShard, written: Written | Lost, seconds: float, now: Moment) -> None:
        if isinstance(written, RowsMissing):
            for clip_id in written.clip_ids:
                self._events.append(ClipTakenBack(shard.finished.pop(clip_id).record))
                self._advance(self._clips[clip_id], now, delay=False)
        elif isinstance(written, Committed):
            self.attempts.forget(clip.clip_id for clip in shard.clips)
            self._forget_files(shard)
            self.shards.close(shard)
            self._found_on.subtract(
                known.node for clip in shard.clips if (known := self.plan_run.finished.get(clip.clip_id)) and known.node
            )
            self._first = None if self._first is shard else self._first
            self._events.append(ShardCommitted(shard.name, written.bytes, seconds))

    def _forget_files(self, shard: OpenShard) -> None:
        """Downloads and finished clips go once their shard is committed."""
        others = {one.clip.video_id for one in self._clips.values() if one.shard is not shard}
        videos = {clip.video_id for clip in shard.clips} - others
        self.fetch.forget(videos)
        self._without_downloads -= videos
        self.write.forget_rows(shard)
