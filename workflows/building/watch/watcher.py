"""What a build does to be watched: looks at its driver every few seconds and puts the live state where it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Self

import msgspec

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.redaction import counted, without_secrets
from kinetics_pipeline.shards.writer import Superseded
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.events import BuildEvent
from kinetics_pipeline.workflows.building.executor import Executor
from kinetics_pipeline.workflows.building.lease import LeaseHeld
from kinetics_pipeline.workflows.building.plan_run import PlanRun
from kinetics_pipeline.workflows.building.watch.event_log import EventLog, Line, iso
from kinetics_pipeline.workflows.building.watch.exporters import Exporter
from kinetics_pipeline.workflows.building.watch.judgement import QUIET
from kinetics_pipeline.workflows.building.watch.live import LIVE, PAUSES, LaneState, Live, encoded
from kinetics_pipeline.workflows.building.watch.log_lines import lines_of, pauses
from kinetics_pipeline.workflows.building.watch.look import Look, look_at
from kinetics_pipeline.workflows.building.watch.notify import Notifier
from kinetics_pipeline.workflows.building.watch.observer import LONGEST_DETAIL, Observer
from kinetics_pipeline.workflows.runtime.progress import duration

LOOK_EVERY = 5.0
"""Seconds between two looks at the driver."""
WRITE_EVERY = 15.0
"""Seconds between two writes of the live state: one request of an object store each."""
LAST_WRITE = 10.0
"""Seconds that the last write may take before the build ends without it."""


class Watcher:
    """Keeps `state/live.json` while its `with` block lasts, and says in it how the block was left."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        gpus: Callable[[], int] = lambda: 0,
        unplaced: Callable[[], int] = lambda: 0,
        lacks: Callable[[], str] = str,
        log: EventLog | None = None,
        exporters: Sequence[Exporter] = (),
        notifier: Notifier | None = None,
    ) -> None:
        """`gpus`: how many GPUs clips are processed on; 0 where cores do it. `unplaced`: how much work the
        cluster has no core for. `lacks`: what waiting clips lack while none is at work. `exporters`: where metrics go;
        they are closed at the end."""
        self._store, self._executor, self._gpus, self._unplaced, self._lacks = store, executor, gpus, unplaced, lacks
        self.log, self._exporters, self._notifier = log, exporters, notifier
        self.observer = Observer(executor.now())
        self.live: Live | None = None
        """The state at the last look."""
        self._looked = self._written = float("-inf")
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._writing_since = 0.0
        self._refused = ""
        """Why the last write failed; empty where it did not."""
        self._look: Look | None = None
        self._telling = threading.Lock()
        """Held while something is told to the log and the exporters: `held_up` is called by another thread."""
        self._lanes: Sequence[LaneState] = ()
        self._names: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A build that has come to its end has removed the file; where another has taken over, it is that one's."""
        how = "finished" if error is None else how_it_ended(error)
        if self._look is not None:
            self._show(self.observer.state(replace(self._look, now=self._executor.now())))
        self._note("ended", how)
        self._tell(_event(error), detail=how)
        if error is not None and self.live is not None and not isinstance(error, LeaseHeld | Superseded):
            self.live = msgspec.structs.replace(self.live, ended=how_it_ended(error), time=self._executor.now().unix)
            self._write(self.live, wait=True)
        self._thread.shutdown(wait=False)
        for exporter in self._exporters:
            exporter.close()
        if self._notifier is not None:
            self._notifier.end()

    def begin(self, run: PlanRun, clips: int, fetched: int = 0) -> None:
        """The next plan, of which so many clips are to be made, and so many of them fetched."""
        self.observer.begin(run.plan_name, "clips", clips, run.finished, self._executor.now(), fetched=fetched)
        self._note("begun", f"plan {run.plan_name}: {counted(clips, 'clip')} in {counted(len(run.missing), 'shard')}")
        self._looked = float("-inf")

    def begin_to_wait(self, things: str, total: int) -> None:
        """Something that the next plan waits for."""
        self.observer.begin("", things, total, (), self._executor.now())

    def take(self, events: Sequence[BuildEvent], driver: Driver) -> Live | None:
        """Counts what happened; the live state where it was time for a look."""
        now = self._executor.now()
        self.observer.take(events, now)
        live = None
        if now.monotonic - self._looked >= LOOK_EVERY:
            look = self._look = self._with_troubles(look_at(driver, now, self._gpus()))
            self._names = look.nodes
            live = self._seen(self.observer.state(look))
        if self.log is not None and events:
            with self._telling:
                self.log.write(list(lines_of(events, self._names, now)))
        return live

    def _with_troubles(self, look: Look) -> Look:
        """The look, with what only others can say of why nothing goes on."""
        quiet = look.now.monotonic - self.observer.progressed.monotonic
        unplaced = self._unplaced() if look.processing and quiet > QUIET / 2 else 0
        lacks = self._lacks() if look.waiting and not look.processing else ""
        return replace(look, unplaced=unplaced, lacks=lacks, store_trouble=self._store_trouble())

    def _store_trouble(self) -> str:
        """Why the store takes no live state; empty where it does."""
        waited = self._executor.now().monotonic - self._writing_since
        if self._writing is not None and not self._writing.done() and waited > QUIET / 2:
            return f"{without_secrets(self._store.uri)} has not answered for {duration(waited)}"
        return self._refused

    def waited(self, done: int, unanswered: str) -> Live | None:
        """How many of what is waited for are there. `unanswered`: what was last said where nobody gives any."""
        now = self._executor.now()
        self.observer.waited(done, now)
        if now.monotonic - self._looked < LOOK_EVERY:
            return None
        if unanswered:
            self.observer.failed_outside("unreachable", self.observer.things, unanswered, now)
        why = f"{self.observer.things} cannot be reached from here: {unanswered}" if unanswered else ""
        return self._seen(self.observer.state(Look(now), no_progress=why))

    def _note(self, event: str, detail: str, *, lane: str = "", until: str = "") -> None:
        """A line of the log that is about no clip."""
        if self.log is not None:
            time = iso(self._executor.now().unix)
            with self._telling:
                self.log.write([Line(time, event, detail=detail[:LONGEST_DETAIL], lane=lane, until=until)])

    def _tell(self, event: str, **facts: str) -> None:
        """Runs the user's command."""
        if self._notifier is not None:
            counts = {"done": self.observer.done, "total": self.observer.total}
            self._notifier.tell(event, {"dataset": without_secrets(self._store.uri), **counts, **facts})

    def _seen(self, live: Live) -> Live:
        if has_stalled := bool(live.no_progress) and (self.live is None or not self.live.no_progress):
            self._note("stalled", live.no_progress)
        for lane in pauses(self._lanes, live):
            why, until = PAUSES.get(lane.reason, lane.reason), iso(lane.paused_until)
            self._note("paused", why, lane=lane.name, until=until)
            self._tell("paused", detail=why, lane=lane.name, until=until)
        self._show(live)
        self._lanes = live.lanes
        self.live, self._looked = live, self._executor.now().monotonic
        if has_stalled or self._looked - self._written >= WRITE_EVERY:
            self._written = self._looked
            self._write(live)
        return live

    def _show(self, live: Live) -> None:
        with self._telling:
            for exporter in self._exporters:
                exporter.show(live)

    def held_up(self, why: str) -> None:
        """The driver itself has been waiting for long, for the store or for Ray. Called by another thread."""
        self._note("stalled", why)
        if self.live is not None:
            live = msgspec.structs.replace(self.live, no_progress=why, time=self._executor.now().unix)
            self._show(live)
            self._write(live)

    def _write(self, live: Live, *, wait: bool = False) -> None:
        """Writes in a thread: a slow store holds up nothing. Left out while the write before it goes on."""
        if self._writing is not None and not self._writing.done() and not wait:
            return
        self._writing_since = self._executor.now().monotonic
        self._writing = self._thread.submit(self._put, encoded(live))
        if wait:
            self._wait()

    def _put(self, data: bytes) -> None:
        try:
            self._store.write(LIVE, data)
        except (UserError, OSError) as error:
            self._refused = str(error)[:LONGEST_DETAIL]  # nobody is shown this state: the next one follows
        else:
            self._refused = ""

    def _wait(self) -> None:
        try:
            if self._writing is not None:
                self._writing.result(LAST_WRITE)
        except TimeoutError:
            return

    def forget(self) -> None:
        """Removes the file: the build has come to its end."""
        self._wait()
        self.live = None
        self._store.delete(LIVE)


def _event(error: BaseException | None) -> str:
    """What `--notify` calls it."""
    if error is None:
        return "ended"
    return "stopped" if isinstance(error, KeyboardInterrupt | WorkRemains) else "failed"


def how_it_ended(error: BaseException) -> str:
    """A few words for whoever looks later."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, WorkRemains):
        return f"work remains: {error}"[:LONGEST_DETAIL]
    if isinstance(error, UserError):
        return f"failed: {error}"[:LONGEST_DETAIL]
    return f"failed: {type(error).__name__}"
