"""Time, processes and their threads: one runs at a time, and which one follows from the seed alone.

A task is a thread that runs only while it has the baton. It hands the baton on whenever it sleeps, which is all that
simulated stores, clusters and clocks do; so the code between two sleeps is one step that nothing interrupts.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

BEGAN = 1_700_000_000.0
"""Unix time at which every run begins."""
MOST_STEPS = 60_000
"""Steps of a run at most; more of them mean that it does not end."""


class Killed(BaseException):
    """The process of the running task was killed: nothing of it happens any more."""


class Endless(Exception):
    """The run does not end."""


@dataclass
class Machine:
    """A computer with clocks of its own."""

    name: str
    skew: float = 0.0
    """Seconds that its clock is ahead."""
    boots: int = 0
    cut_off_until: float = 0.0
    """The time until which nothing that it sends to the store arrives."""


@dataclass(eq=False)
class Process:
    """A process on a machine."""

    machine: Machine
    pid: int
    started: float
    is_alive: bool = True
    frozen_until: float = 0.0
    tasks: list[Task] = field(default_factory=list)


class Task:
    """A thread of a process."""

    def __init__(self, process: Process, body: Callable[[], None], ended: Callable[[BaseException | None], None]):
        self.process, self.body, self.on_end = process, body, ended
        self.baton = threading.Semaphore(0)
        self.is_over = False
        self.sleeps = 0
        """Counts them: what would end an earlier one must not end a later one."""


class _Thread(threading.Thread):
    """A thread that runs one task after the other: starting one again for each would take most of the time."""

    idle: list[_Thread] = []  # noqa: RUF012  shared on purpose: threads outlive a run

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.go = threading.Semaphore(0)
        self.work: Callable[[], None] = lambda: None
        self.start()

    def run(self) -> None:
        while True:
            self.go.acquire()
            self.work()

    @classmethod
    def begin(cls, work: Callable[[_Thread], None]) -> None:
        thread = cls.idle.pop() if cls.idle else cls()
        thread.work = lambda: work(thread)
        thread.go.release()


class World:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  a simulation
        self.now = 0.0
        self.steps = 0
        self.current: Task | None = None
        self.failure: BaseException | None = None
        """What went wrong within the simulation itself."""
        self._queue: list[tuple[float, int, Callable[[], None] | None, Task | None, int]] = []
        """When, a number that keeps the order, and what happens: a call, or the end of a task's sleep."""
        self._numbers = itertools.count(1)
        self._done = threading.Semaphore(0)
        self._tasks: set[Task] = set()
        self._is_over = False

    # What happens when

    def at(self, delay: float, what: Callable[[], None]) -> None:
        """Has something happen after so many seconds."""
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), what, None, 0))

    def wake(self, task: Task, delay: float = 0.0) -> None:
        """Ends the present sleep of a task, if it still lasts then."""
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), None, task, task.sleeps))

    def process(self, machine: Machine) -> Process:
        return Process(machine, next(self._numbers), self.now)

    def start(
        self,
        process: Process,
        body: Callable[[], None],
        ended: Callable[[BaseException | None], None] = lambda error: None,
    ) -> None:
        """Starts a task. `ended` is told what it raised, `Killed` included, or None."""
        task = Task(process, body, ended)
        process.tasks.append(task)
        self._tasks.add(task)
        _Thread.begin(lambda thread: self._live(task, thread))
        self.wake(task)

    def _live(self, task: Task, thread: _Thread) -> None:
        task.baton.acquire()
        self.current = task
        error: BaseException | None = None
        try:
            self._require_life(task)
            task.body()
        except BaseException as raised:  # noqa: BLE001  told to who asked for the task
            error = raised
        task.is_over = True
        self._tasks.discard(task)
        task.process.tasks.remove(task)
        if not self._is_over:
            try:
                task.on_end(error)
            except Exception as raised:  # noqa: BLE001  told by `run`
                self.fail(raised)
        _Thread.idle.append(thread)
        self._hand_on(None)

    def sleep(self, seconds: float) -> None:
        """Called in a task: others run meanwhile. Raises Killed when its process is gone."""
        task = self.current
        assert task is not None
        self._require_life(task)
        task.sleeps += 1
        self.wake(task, seconds)
        self._hand_on(task)
        while task.process.is_alive and task.process.frozen_until > self.now and not self._is_over:
            self.wake(task, task.process.frozen_until - self.now)
            self._hand_on(task)
        self._require_life(task)

    def _require_life(self, task: Task) -> None:
        if not task.process.is_alive or self._is_over:
            raise Killed

    def kill(self, process: Process) -> None:
        """SIGKILL. A task that kills its own process must then sleep."""
        process.is_alive = False
        for task in process.tasks:
            if task is not self.current:
                self.wake(task)

    def _hand_on(self, mine: Task | None) -> None:
        """Lets others run until `mine` is due; a task that ends has none."""
        while self._queue and not self._is_over:
            when, _, call, task, sleeps = heapq.heappop(self._queue)
            if task is not None and (task.is_over or task.sleeps != sleeps):
                continue
            self.now = max(self.now, when)
            self.steps += 1
            if self.steps > MOST_STEPS:
                self.fail(Endless(f"more than {MOST_STEPS} steps, at {self.now:.0f} s"))
                break
            if task is not None and task is mine:
                self.current = mine
                return
            if task is not None:
                task.baton.release()
                self._await(mine)
                return
            assert call is not None
            try:
                call()
            except Exception as raised:  # noqa: BLE001  told by `run`
                self.fail(raised)
        self._done.release()
        self._await(mine)

    def _await(self, mine: Task | None) -> None:
        if mine is not None:
            mine.baton.acquire()
            self.current = mine

    @property
    def is_over(self) -> bool:
        return self._is_over

    def fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._is_over = True

    def run(self) -> None:
        """Runs until nothing is left to happen. Raises what went wrong within the simulation, and Endless."""
        self._hand_on(None)
        self._done.acquire()
        stuck = len(self._tasks)
        self._is_over = True
        while self._tasks:  # each ends with Killed at its next step
            next(iter(self._tasks)).baton.release()
            self._done.acquire()
        if self.failure is not None:
            raise self.failure
        if stuck:
            raise Endless(f"{stuck} tasks wait for something that never comes, at {self.now:.0f} s")


class Lock:
    """A lock that lets other tasks run while it is waited for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_held = False

    def __enter__(self) -> None:
        while self._is_held:
            self._world.sleep(0.01)
        self._is_held = True

    def __exit__(self, *exception: object) -> None:
        self._is_held = False
