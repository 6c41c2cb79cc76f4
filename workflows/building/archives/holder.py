"""The driver's half of fetching archives: which node has which, and when an archive that nobody gave is asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping

from kinetics_pipeline.errors import WorkRemains
from kinetics_pipeline.sources.local.tars import Archive
from kinetics_pipeline.workflows.building.archives.node import (
    ArchiveExecutor,
    ArchiveJob,
    Here,
    NoAnswer,
    NoRoom,
    NotGiven,
)
from kinetics_pipeline.workflows.building.events import BuildEvent
from kinetics_pipeline.workflows.building.executor import Lost, Ref

TICK = 0.5
"""Seconds between two looks at what has arrived."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds after which an archive that nobody answered for is asked for again; each further pause is twice as long."""
TRIES = 3
"""Times that nobody answers for one archive, while others are given or its server begins to, after which it is given
up."""


class ArchiveHolder:
    """The archives that are on the nodes, or on their way there."""

    def __init__(
        self, executor: ArchiveExecutor, jobs: Mapping[str, ArchiveJob], learn: Callable[[Here | NotGiven], None]
    ) -> None:
        """`jobs`: all archives there are, in the order of the list, by key. `learn` is told what became of each."""
        self.executor, self.learn = executor, learn
        self._jobs = jobs
        self._numbers = {key: number for number, key in enumerate(jobs)}
        self.here: dict[str, Archive] = {}
        """The archives that lie on a node, by key."""
        self.refused: dict[str, str] = {}
        """Those that were given up by this run, with the reason."""
        self.unanswered = ""
        """What was said for the last archive, where nobody answered; empty where somebody did."""
        self._running: dict[Ref, str] = {}
        self._later: dict[str, float] = {}
        """When an archive is asked for again (monotonic)."""
        self._unanswered: Counter[str] = Counter()
        self._reached = False
        """Whether any archive was given, or refused, since the last one for which nobody answered."""
        self._silent_since: float | None = None
        self._workers_started = False

    def want(self, keys: Iterable[str]) -> None:
        """Begins to fetch the archives that are not here, in the order given."""
        nodes = self.executor.working_nodes() or list(self.executor.nodes())
        under_way = {*self.on_the_way(), *self.here, *self.refused}
        for key in keys:
            if key not in under_way:
                if not self._workers_started:
                    self._workers_started = True
                    self.executor.start_workers()
                node = nodes[self._numbers[key] % len(nodes)]
                self._running[self.executor.start_hold(self._jobs[key], node)] = key

    def wait_for(self, keys: Collection[str], max_wait: float) -> Generator[list[BuildEvent], None, None]:
        """Returns once each of the archives is here or refused; yields about twice a second, and can be stopped there.

        Raises WorkRemains when nobody answers for longer than `max_wait` seconds, or the disk is full.
        """
        self.lose_dead_nodes()
        self.want(keys)
        while any(key not in self.here and key not in self.refused for key in keys):
            now = self.executor.now().monotonic
            due = [key for key, when in self._later.items() if when <= now]
            for key in due:
                del self._later[key]
            self.want(due)
            if self._running:
                for ref in self.executor.wait(list(self._running), TICK):
                    self._take(ref, max_wait)
            else:
                self.executor.rest(TICK)
            yield []

    def _take(self, ref: Ref, max_wait: float) -> None:
        key = self._running.pop(ref)
        answer = self.executor.held(ref)
        self.unanswered = answer.reason if isinstance(answer, NoAnswer) else ""
        now = self.executor.now().monotonic
        if isinstance(answer, Lost):
            self._later[key] = now
        elif isinstance(answer, NoRoom):
            raise WorkRemains(f"archives cannot be kept in the cache: {answer.reason}; make room")
        elif isinstance(answer, NoAnswer):
            self._unanswered[key] += 1
            if (self._reached or answer.answered) and self._unanswered[key] >= TRIES:
                self._refuse(NotGiven(key, answer.reason))
                return
            self._silent_since = now if self._silent_since is None or self._reached else self._silent_since
            self._reached = False
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._unanswered[key] - 1))
            if now + pause - self._silent_since > max_wait:
                raise WorkRemains(f"the archives' server cannot be reached ({answer.reason})")
            self._later[key] = now + pause
        elif isinstance(answer, Here):
            self._reached = True
            self.here[key] = answer.archive
            self.learn(answer)
        else:
            self._reached = True
            self._refuse(answer)

    def _refuse(self, answer: NotGiven) -> None:
        self.refused[answer.key] = answer.reason
        self.learn(answer)

    def keep_only(self, keys: Collection[str]) -> None:
        """Lets go of the archives on the nodes that are not among `keys`, also of those that earlier runs left."""
        for key in [key for key in self.here if key not in keys]:
            del self.here[key]
        self.executor.keep_only_archives([*keys, *self.on_the_way()])

    def on_the_way(self) -> set[str]:
        """The archives that are being fetched, or will be asked for again."""
        return {*self._running.values(), *self._later}

    def lose_dead_nodes(self) -> bool:
        """Forgets the archives whose node is gone; whether there were any."""
        alive = self.executor.nodes()
        lost = [key for key, archive in self.here.items() if archive.node not in alive]
        for key in lost:
            del self.here[key]
        return bool(lost)
