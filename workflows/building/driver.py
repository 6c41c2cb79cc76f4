"""The driver: walks the shards of a plan, moves every clip through its sources, and has each full shard written.

It sees small records only. At any time a bounded number of shards is open, and a slow clip holds up its own shard
alone. Shards of local files and shards that need the network are walked side by side: neither waits for the other.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ray

from kinetics_pipeline.errors import JobFailed, WorkRemains
from kinetics_pipeline.plan import Plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record
from kinetics_pipeline.sources.base import LocalSource, NetworkSource, is_network
from kinetics_pipeline.sources.pace.retries import Done, Event, Try, decide
from kinetics_pipeline.workflows.building import fetch as fetching
from kinetics_pipeline.workflows.building import process as processing
from kinetics_pipeline.workflows.building.attempts import Attempts
from kinetics_pipeline.workflows.building.cache_folders import LOST, Workplace, answer, nodes, on, this_node
from kinetics_pipeline.workflows.building.disk import Disk
from kinetics_pipeline.workflows.building.fetch import Fetching
from kinetics_pipeline.workflows.building.open_shards import LOCAL, NETWORK, InHand, Open, OpenShards
from kinetics_pipeline.workflows.building.process import Processing
from kinetics_pipeline.workflows.building.stages import Candidate, Fetched, Processed, Written, unspool, write

TICK = 0.5
"""Seconds the driver waits for something to happen before it looks at the clock."""
SHORT_AT_LEAST = 5.0
"""Seconds without anything in flight, and without room, after which no room is to be expected from this run."""
LOST_AT_MOST = 3
"""Times that a clip's work may vanish with its worker before that counts as an attempt."""


class Interrupted(Exception):
    """The user or the system asked the run to end."""


class Graph:
    """One run over the missing shards of one plan. `run` returns when all are committed, and raises otherwise."""

    def __init__(
        self,
        *,
        uri: str,
        plan_name: str,
        plan: Plan,
        missing: Sequence[str],
        generation: int,
        recipe: Recipe,
        classes: Sequence[str],
        label_of: Callable[[Clip], int],
        sources: Mapping[str, LocalSource | NetworkSource],
        workplace: Workplace,
        fetching: Fetching,
        processing: Processing,
        disk: Disk,
        attempts: Attempts,
        spooled: Mapping[str, tuple[str, Record]],
        max_wait: float,
        on_change: Callable[[Graph], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.uri, self.plan_name, self.generation = uri, plan_name, generation
        self.recipe, self.classes = recipe, classes
        self.sources, self.workplace = sources, workplace
        self.fetching, self.processing, self.attempts = fetching, processing, attempts
        self.disk = disk
        self.spooled, self.max_wait = spooled, max_wait
        self.on_change, self.should_stop = on_change, should_stop
        self.finished: list[Record] = []
        """Records of the clips that this run finished and has not yet reported (the report takes them)."""
        self.taken_back: list[Record] = []
        """Of them, those that were not so after all; likewise."""
        self.committed_shards = 0
        self.committed_bytes = 0
        self._shards = OpenShards(plan, missing, label_of, disk)
        self._clips = self._shards.clips
        self._later: list[tuple[float, int, str, str]] = []
        self._ticket = itertools.count()
        self._writes: dict[ray.ObjectRef, Open] = {}
        self._tidying: list[ray.ObjectRef] = []
        self._idle_since: float | None = None
        self._relieved: set[str] = set()
        self._home = this_node()

    def run(self) -> None:
        """Raises WorkRemains when only paused egresses are left for longer than allowed, JobFailed when another
        build took over, Interrupted when asked to stop."""
        try:
            while self._admit() or self._clips or self._writes:
                if self.should_stop():
                    raise Interrupted
                self.disk.look()
                self._start_what_is_due()
                self._write_what_is_full()
                self.fetching.dispatch(self._ahead(), self._allowance)
                self.processing.dispatch()
                self._wait()
                self.attempts.save()
                self.on_change(self)
        finally:
            self.attempts.save(at_once=True)
        if self._tidying:
            ray.wait(self._tidying, num_returns=len(self._tidying), timeout=30)

    # From a shard to its clips

    def _admit(self) -> bool:
        """Opens shards while there is room; whether any shard was opened."""
        opened = False
        for walk in (LOCAL, NETWORK):
            # Shards of the network are opened whatever waits for the cores: the lanes say how fast they are fetched.
            while walk == NETWORK or self.processing.backlog < 4 * self.processing.places:
                shard = self._shards.open_next(walk, self._being_made())
                if shard is None:
                    break
                for hand in shard.hands:
                    self._take_up(hand.clip.clip_id)
                opened = True
        return opened

    def _being_made(self) -> set[str]:
        return {job.clip.clip_id for job, _ in self.processing.running.values()}

    def _take_up(self, clip_id: str) -> None:
        """A clip whose shard has just been opened: finished by an earlier run, or to be begun."""
        known = self.spooled.get(clip_id)
        if known is not None:
            node, record = known
            self._finish(clip_id, record, node)
        else:
            self._advance(clip_id, delay=False)

    def _advance(self, clip_id: str, *, delay: bool = True) -> None:
        """Does what the policy says of everything tried so far."""
        hand = self._clips[clip_id]
        while True:
            decision = decide(self.attempts.of(clip_id), list(self.sources))
            if isinstance(decision, Done):
                record = self._record(hand, outcome=decision.outcome, detail=decision.detail)
                self._finish(clip_id, record, home="")
                return
            if delay and decision.after_seconds > 0:
                due = time.monotonic() + decision.after_seconds
                hand.on_network = is_network(self.sources[decision.source])
                heapq.heappush(self._later, (due, next(self._ticket), clip_id, decision.source))
                return
            if self._begin(hand, decision):
                return

    def _begin(self, hand: InHand, step: Try) -> bool:
        """Starts one try; False when a local source has no file for the clip, which is now an event."""
        source = self.sources[step.source]
        if is_network(source):
            hand.on_network = True
            self.fetching.want(step.source, hand.clip)
            return True
        candidates = [Candidate(media, home=self._home) for media in cast(LocalSource, source).candidates(hand.clip)]
        if not candidates:
            self.attempts.add(hand.clip.clip_id, Event(step.source, "not_found", f"{source.name}: no file"))
            return False
        self._process(hand, step.source, candidates)
        return True

    def _process(self, hand: InHand, source: str, candidates: Sequence[Candidate]) -> None:
        hand.on_network = False
        before = self._record(hand, outcome="internal", detail=_details(self.attempts.of(hand.clip.clip_id)))
        self.processing.add(processing.Job(hand.clip, source, tuple(candidates), hand.label, before))

    def _record(self, hand: InHand, *, outcome: Any, detail: str) -> Record:
        clip = hand.clip
        return Record(
            clip_id=clip.clip_id,
            video_id=clip.video_id,
            time_start=clip.time_start,
            time_end=clip.time_end,
            label=clip.label,
            outcome=outcome,
            detail=detail,
            requests=hand.requests,
            seconds=dict(hand.seconds),
        )

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            _, _, clip_id, source = heapq.heappop(self._later)
            self._begin(self._clips[clip_id], Try(source, 0.0))

    def _allowance(self, video_id: str) -> int | None:
        """The bytes that a download of the video may write, or None when it has to wait for room."""
        allowance = self.disk.download(video_id, self._shards.still_to_come(self._being_made()))
        if allowance is None:
            self._relieve()
        return allowance

    def _relieve(self) -> None:
        """Takes away the downloads of finished clips before their shard is committed, because room is short. At worst,
        should the node with the finished clip go, one is fetched again."""
        done = self._shards.finished_videos() - self._relieved
        if done:
            self._relieved |= done
            self._tidying += self.fetching.forget(self._downloads(done))

    def _downloads(self, videos: Iterable[str]) -> list[Path]:
        network = [source.name for source in self.sources.values() if is_network(source)]
        return [self.workplace.video(source, video) for source in network for video in videos]

    def _ahead(self) -> int:
        """Videos that may be fetched ahead of the cores."""
        ahead = 2 * self.processing.places + self.fetching.slots
        return ahead - self.processing.fetched_backlog - len(self.fetching.running)

    # What comes back

    def _wait(self) -> None:
        refs = [*self.processing.running, *self.fetching.running, *self._writes]
        if not refs:
            self._rest()
            return
        self._idle_since = None
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(refs, num_returns=1, timeout=TICK, fetch_local=False)
        for ref in ready:
            if ref in self.processing.running:
                self._processed(*self.processing.result(ref))
            elif ref in self.fetching.running:
                self._fetched(*self.fetching.result(ref))
            else:
                self._written(ref)

    def _rest(self) -> None:
        """Nothing runs: a later try is awaited, or a paused egress."""
        short = self.disk.short_since
        if short is not None and time.monotonic() - short > SHORT_AT_LEAST and not self._later:
            if self.disk.limits:
                raise JobFailed(self.disk.why_short())
            if time.monotonic() - short > self.max_wait:
                raise WorkRemains(self.disk.why_short())
        later = [(source, self._clips[clip_id].clip.video_id) for _, _, clip_id, source in self._later]
        if all(is_network(self.sources[source]) for source, _ in later):
            resumes = self.fetching.resumes_at(later)
        else:
            resumes = None
        if resumes is not None:
            self._idle_since = self._idle_since or time.time()
            if resumes - self._idle_since > self.max_wait:
                until = time.strftime("%H:%M", time.localtime(resumes))
                raise WorkRemains(f"every egress that is left is paused, the first until {until}")
        time.sleep(TICK / 5)

    def _fetched(self, job: fetching.Job, fetched: Fetched | None) -> None:
        for clip in job.clips:
            hand = self._clips[clip.clip_id]
            if fetched is None:
                self._lost(hand, job.source, "its node died while it was fetched")
                continue
            download = fetched.download
            if download.no_room:
                self.fetching.want(job.source, clip)
                continue
            hand.requests += download.requests
            hand.seconds["fetch"] = hand.seconds.get("fetch", 0.0) + round(fetched.seconds / len(job.clips), 3)
            media = download.media.get(clip.clip_id)
            if media is not None:
                self._process(hand, job.source, [Candidate(media, fetched.node)])
            else:
                assert download.failure is not None, f"{job.video_id}: neither a file nor a failure"
                failure = download.failure
                self.attempts.add(clip.clip_id, Event(job.source, failure.outcome, failure.detail))
                self._advance(clip.clip_id)
        self._take_back(self.fetching.doubted)

    def _take_back(self, videos: frozenset[str]) -> None:
        """A burst of doubtful failures says that the extractor is broken or the address blocked: none of the videos
        concerned is charged with it, and those that had come to their end begin again."""
        writing = {shard.name for shard in self._writes.values()}
        for clip_id, hand in self._clips.items():
            if hand.clip.video_id not in videos or hand.shard in writing or not self.attempts.uncharge(clip_id):
                continue
            if hand.record is not None:
                self.taken_back.append(hand.record)
                hand.record = None
                self._advance(clip_id, delay=False)

    def _processed(self, job: processing.Job, result: Processed | str) -> None:
        hand = self._clips[job.clip.clip_id]
        if isinstance(result, str):
            self._lost(hand, job.source, result)
            return
        if not result.node:
            self._lost(hand, job.source, result.record.detail)
            return
        hand.seconds.update(result.record.seconds)
        if result.record.outcome == "ok":
            self.disk.learn(result.record.frames, result.bytes)
            self._finish(job.clip.clip_id, result.record, result.node)
            return
        self.attempts.add(job.clip.clip_id, Event(job.source, result.record.outcome, result.record.detail))
        self._advance(job.clip.clip_id)

    def _lost(self, hand: InHand, source: str, how: str) -> None:
        """Work that vanished says nothing of the clip, unless it keeps happening to the same one."""
        hand.lost += 1
        if hand.lost >= LOST_AT_MOST:
            hand.lost = 0
            self.attempts.add(hand.clip.clip_id, Event(source, "internal", how))
        self._advance(hand.clip.clip_id, delay=hand.lost == 0)

    def _finish(self, clip_id: str, record: Record, home: str) -> None:
        hand = self._clips[clip_id]
        hand.record, hand.home = record, home
        self.finished.append(record)

    def _write_what_is_full(self) -> None:
        """A shard with a failure that may yet turn out to be a burst's waits until that is known."""
        writing = set(self._writes.values())
        full = [shard for shard in self._shards if shard not in writing and shard.unfinished == 0]
        suspected = self.fetching.suspected(more_to_come=bool(self._later)) if full else frozenset()
        for shard in full:
            rows = self.disk.rows(hand.clip for hand in shard.hands if hand.home)
            doubtful = any(not hand.home and hand.clip.video_id in suspected for hand in shard.hands)
            if not doubtful and self.disk.write(rows, only=not self._writes):
                self._write(shard)

    # From clips to a shard

    def _write(self, shard: Open) -> None:
        hands = shard.hands
        homes = {hand.clip.clip_id: hand.home for hand in hands if hand.home}
        alive = set(nodes())
        most = max(homes.values(), key=list(homes.values()).count, default="")
        options = {"scheduling_strategy": on(most, soft=True)} if most in alive else {}
        ref = write.options(**options).remote(
            self.workplace,
            self.uri,
            shard.name,
            self.plan_name,
            [hand.record for hand in hands],
            homes,
            self.recipe,
            list(self.classes),
            self.generation,
        )
        self._writes[ref] = shard
        self.disk.promise(ref, self.disk.rows(hand.clip for hand in hands if hand.home))

    def _written(self, ref: ray.ObjectRef) -> None:
        shard = self._writes.pop(ref)
        self.disk.settle(ref)
        try:
            written: Written = answer(ref)
        except LOST as error:
            shard.lost += 1
            if shard.lost > LOST_AT_MOST:
                raise JobFailed(f"shard {shard.name} was not written: its writer died {shard.lost} times") from error
            self._write(shard)
            return
        if written.superseded:
            raise JobFailed(f"another build of {self.uri} took over; this one has stopped")
        if written.lost:
            for clip_id in written.lost:
                self._clips[clip_id].record = None
                self._advance(clip_id, delay=False)
            return
        self.committed_shards += 1
        self.committed_bytes += written.bytes
        self.attempts.forget(hand.clip.clip_id for hand in shard.hands)
        self._tidy(shard)
        self._shards.close(shard)

    def _tidy(self, shard: Open) -> None:
        """Downloads and finished clips go once their shard is committed."""
        others = {h.clip.video_id for h in self._clips.values() if h.shard != shard.name}
        videos = {hand.clip.video_id for hand in shard.hands} - others
        self._tidying += self.fetching.forget(self._downloads(videos))
        self._relieved -= videos
        for node in {hand.home for hand in shard.hands if hand.home} & set(nodes()):
            mine = [hand.clip.clip_id for hand in shard.hands if hand.home == node]
            self._tidying.append(unspool.options(scheduling_strategy=on(node)).remote(self.workplace, mine))
        _, self._tidying = ray.wait(self._tidying, num_returns=len(self._tidying), timeout=0)


def _details(events: Sequence[Event]) -> str:
    return "; ".join(dict.fromkeys(event.detail for event in events if event.detail))
