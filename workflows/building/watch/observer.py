"""Keeps the live state of a build from what its driver tells, on the driver's own clock; the same under Ray and in a
simulation."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Container, Sequence
from statistics import median

from kinetics_pipeline.records import Record
from kinetics_pipeline.workflows.building.events import (
    BuildEvent,
    ClipFinished,
    ClipProcessed,
    ClipTakenBack,
    ClipTriedAgain,
    ShardCommitted,
    VideoFetched,
)
from kinetics_pipeline.workflows.building.executor import Lost, Moment
from kinetics_pipeline.workflows.building.watch.judgement import (
    TIMES_USUAL,
    busy_share,
    limiting,
    per_hour,
    why_nothing_goes_on,
)
from kinetics_pipeline.workflows.building.watch.live import (
    MOST_NAMED,
    LaneState,
    LastError,
    Live,
    Node,
    Stage,
    Straggler,
)
from kinetics_pipeline.workflows.building.watch.look import Look
from kinetics_pipeline.workflows.building.watch.time_left import WRITING, Made, Range, time_left

WINDOW = 600.0
"""Seconds over which rates are taken."""
LATELY = 60.0
"""Seconds over which the limiting stage is judged."""
SAMPLES = 200
"""Latest durations of a stage that its median is taken of."""
ENOUGH = 20
"""Durations before anything is called a straggler."""
LONGEST_DETAIL = 300
STAGES = {"fetch": "videos", "process": "clips", "write": "shards"}
"""Stages, with what they count."""


class Observer:
    """One run of `build`: what happened, counted."""

    def __init__(self, now: Moment) -> None:
        self.since = now.unix
        self.plan, self.things, self.done, self.total = "", "clips", 0, 0
        self.outcomes: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.ended: Counter[str] = Counter()
        """Units that came out of a stage, well or not; a video for which its source did not answer has not."""
        self.retries = self.bytes_written = self.bytes_fetched = 0
        self.clips_of_node: Counter[str] = Counter()
        self.errors: dict[str, LastError] = {}
        self.progressed = now
        self._found: Container[str] = ()
        self._made: dict[bool, Made] = {False: Made(), True: Made()}
        """Clips of the plan that this run made: those fetched from a network, and the others."""
        self._fetched_clips = self._done_fetched = 0
        self._taken: dict[str, deque[float]] = {stage: deque(maxlen=SAMPLES) for stage in STAGES}
        self._looks: deque[Look] = deque()
        self._history: deque[tuple[float, Counter[str]]] = deque()
        """Monotonic seconds, and units by stage: at each look of the window."""
        self._unanswered = ""

    def begin(
        self, plan: str, things: str, total: int, found: Container[str], now: Moment, *, fetched: int = 0
    ) -> None:
        """The next plan, or the next wait. `found`: clips that an earlier run has finished, which tell no rate.
        `fetched`: how many of the clips are fetched from a network."""
        self.plan, self.things, self.done, self.total, self._found = plan, things, 0, total, found
        self.progressed = now
        self._made, self._fetched_clips = {False: Made(), True: Made()}, fetched
        self._done_fetched = 0
        self._looks.clear()
        self._history.clear()

    def take(self, events: Sequence[BuildEvent], now: Moment) -> None:
        """Counts what happened."""
        for event in events:
            if isinstance(event, ClipProcessed):
                self._processed(event, now)
            elif isinstance(event, ClipFinished):
                self.done += 1
                self._done_fetched += _is_fetched(event.record)
                self.outcomes[event.record.outcome] += 1
                if event.record.clip_id not in self._found:
                    self._made[_is_fetched(event.record)].add(now.monotonic)
                for step, seconds in event.record.seconds.items():
                    self.seconds[step] += seconds
                self.progressed = now
            elif isinstance(event, VideoFetched):
                self._fetched(event, now)
            elif isinstance(event, ClipTriedAgain):
                self.retries += 1
            elif isinstance(event, ShardCommitted):
                self.ended["write"] += 1
                self._taken["write"].append(event.seconds)
                self.bytes_written += event.bytes
                self.progressed = now
            elif isinstance(event, ClipTakenBack):
                self.done -= 1
                self._done_fetched -= _is_fetched(event.record)
                self.outcomes[event.record.outcome] -= 1
                if event.record.clip_id not in self._found:
                    self._made[_is_fetched(event.record)].take_back()

    def _fetched(self, event: VideoFetched, now: Moment) -> None:
        answer = event.answer
        if isinstance(answer.result, Lost):
            self._failed("lost", answer.job.video_id, answer.result.reason, now)
            return
        download = answer.result.download
        self.ended["fetch"] += not answer.is_refused
        self.bytes_fetched += download.bytes_fetched
        if download.media:
            self._taken["fetch"].append(answer.result.seconds)
            self.progressed = now
        if (failure := download.failure) is not None:
            self._failed(failure.outcome, answer.job.video_id, failure.detail, now)
            self._unanswered = failure.detail if answer.is_refused else self._unanswered

    def _processed(self, event: ClipProcessed, now: Moment) -> None:
        clip_id, result = event.job.clip.clip_id, event.result
        if isinstance(result, Lost):
            self._failed("lost", clip_id, result.reason, now)
            return
        self.ended["process"] += 1
        self.clips_of_node[result.node] += 1
        self.progressed = now
        record = result.record
        if record.outcome == "ok":
            took = sum(seconds for step, seconds in record.seconds.items() if step != "fetch")
            self._taken["process"].append(took)
        else:
            self._failed(record.outcome, clip_id, record.detail, now)

    def _failed(self, kind: str, name: str, detail: str, now: Moment) -> None:
        before = self.errors.get(kind)
        count = before.count + 1 if before is not None else 1
        self.errors[kind] = LastError(kind, count, name[:LONGEST_DETAIL], detail[:LONGEST_DETAIL], now.unix)

    def failed_outside(self, kind: str, name: str, detail: str, now: Moment) -> None:
        """Something failed that no event tells of, as an archive that nobody gives."""
        if self.errors.get(kind, LastError(kind, 0, "", "", 0.0)).detail != detail:
            self._failed(kind, name, detail, now)

    def waited(self, done: int, now: Moment) -> None:
        """How many of the things that are waited for have come."""
        if done != self.done:
            self.done, self.progressed = done, now

    def state(self, look: Look, *, no_progress: str | None = None) -> Live:
        """The live state, with a look at the driver. `no_progress`: given where the look cannot tell."""
        now = look.now
        self._looks.append(look)
        while self._looks[0].now.monotonic < now.monotonic - LATELY:
            self._looks.popleft()
        self._history.append((now.monotonic, self.ended.copy()))
        while len(self._history) > 2 and self._history[0][0] < now.monotonic - WINDOW:
            self._history.popleft()
        looks = list(self._looks)
        limit, why = limiting(looks, self.seconds)
        left = self._time_left(look)
        quiet = now.monotonic - self.progressed.monotonic
        if no_progress is None:
            is_over = self.things == "clips" and self.done >= self.total and not look.writing
            usual = self._usual("process"), self._usual("fetch")
            no_progress = "" if is_over else why_nothing_goes_on(look, quiet, self._unanswered, *usual)
        left = None if no_progress else left
        return Live(
            time=now.unix,
            since=self.since,
            things=self.things,
            done=max(0, self.done),
            total=self.total,
            plan=self.plan,
            outcomes={outcome: number for outcome, number in self.outcomes.items() if number > 0},
            retries=self.retries,
            shards=self.ended["write"],
            bytes_written=self.bytes_written,
            bytes_fetched=self.bytes_fetched,
            in_cache=look.in_cache,
            stages=self._stages(look),
            seconds={step: round(seconds, 3) for step, seconds in self.seconds.items()},
            limiting=limit,
            why=why,
            places=look.places,
            gpus=look.gpus,
            busy=round(busy_share(looks), 3),
            no_progress=no_progress,
            left=None if left is None else left[0],
            left_low=None if left is None else left[1],
            left_high=None if left is None else left[2],
            stragglers=self._stragglers(look),
            nodes=[Node(name, self.clips_of_node[node]) for node, name in look.nodes.items()],
            lanes=[
                LaneState(one.name, one.in_flight, one.waiting, one.requests, one.bytes, one.paused_until, one.reason)
                for one in look.lanes
            ],
            errors=sorted(self.errors.values(), key=lambda error: -error.time)[:MOST_NAMED],
            cache=look.cache,
            progressed=self.progressed.unix,
        )

    def _stages(self, look: Look) -> list[Stage]:
        in_flight = {"fetch": look.fetching, "process": look.processing, "write": look.writing}
        waiting = {"fetch": look.wanted + look.later, "process": look.waiting, "write": max(0, look.full)}
        return [
            Stage(
                name=stage,
                unit=unit,
                per_hour=round(per_hour([(when, ended[stage]) for when, ended in self._history]), 1),
                in_flight=in_flight[stage],
                waiting=waiting[stage],
                usual=self._usual(stage),
            )
            for stage, unit in STAGES.items()
        ]

    def _time_left(self, look: Look) -> Range | None:
        """What takes longer, the clips that are fetched or the others: they come at rates of their own."""
        left = self.total - self.done
        made, at_once = self._made, look.places
        if not 0 < self._fetched_clips < self.total:
            kinds = [(sorted(made[False].points + made[True].points), left)]
        else:
            fetched = min(left, max(0, self._fetched_clips - self._done_fetched))
            kinds = [(made[True].points, fetched), (made[False].points, left - fetched)]
        found = [
            time_left(
                points,
                look.now.monotonic,
                number,
                at_once=at_once,
                taken=self._taken["process"],
                writing=self._usual("write") or WRITING,
            )
            for points, number in kinds
            if number > 0
        ]
        known = [one for one in found if one is not None]
        if not known or len(known) < len(found):
            return None
        return max(one[0] for one in known), max(one[1] for one in known), max(one[2] for one in known)

    def _usual(self, stage: str) -> float | None:
        return median(self._taken[stage]) if self._taken[stage] else None

    def _stragglers(self, look: Look) -> list[Straggler]:
        """What takes three times as long as is usual, at least a minute, once there is something to go by."""
        usual = {stage: self._usual(stage) for stage, taken in self._taken.items() if len(taken) >= ENOUGH}
        found = [
            Straggler(work.stage, work.name, round(work.seconds, 1), median_)
            for work in look.long
            if (median_ := usual.get(work.stage)) is not None and work.seconds > TIMES_USUAL * median_
        ]
        return found[:MOST_NAMED]


def _is_fetched(record: Record) -> bool:
    """Whether a network source was asked for the clip."""
    return bool(record.requests) or "fetch" in record.seconds
