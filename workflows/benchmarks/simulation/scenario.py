"""One run: builds, withdrawals and what befalls them, all drawn from a seed; then a quiet end, and the verdict."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, withdraw
from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.plan import PlanSettings
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.writer import Superseded
from kinetics_pipeline.sources.pace.retries import POLICY
from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.store import Store, StoreFailed
from kinetics_pipeline.workflows.benchmarks.simulation.asked import CLASSES, RECIPE, SHAPES, asked
from kinetics_pipeline.workflows.benchmarks.simulation.bucket import Bucket, Client, Fault, Rates
from kinetics_pipeline.workflows.benchmarks.simulation.cluster import LARGEST_DOWNLOAD, Cluster, SimulatedExecutor
from kinetics_pipeline.workflows.benchmarks.simulation.folder import SharedFolder
from kinetics_pipeline.workflows.benchmarks.simulation.invariants import Violation, Watcher, check_end
from kinetics_pipeline.workflows.benchmarks.simulation.network import COMMON, Network, PacedServer, Server, Truth
from kinetics_pipeline.workflows.benchmarks.simulation.tokens import replaced
from kinetics_pipeline.workflows.benchmarks.simulation.world import BEGAN, Killed, Lock, Machine, Process, World
from kinetics_pipeline.workflows.building import disk
from kinetics_pipeline.workflows.building import lease as leases
from kinetics_pipeline.workflows.building.dataset_build import DatasetBuild, Limits, WantedClips
from kinetics_pipeline.workflows.building.driver import Driver
from kinetics_pipeline.workflows.building.lanes import Pace
from kinetics_pipeline.workflows.building.lease import RENEW_EVERY, Holding, Lease, LeaseHeld, Running

URI = "s3://simulated/dataset"
TROUBLE = 900.0
"""Seconds in which things go wrong; after them they must come to a good end."""
BETWEEN = 4000.0
"""Seconds between two builds of the quiet end, so that no address has to rest any more."""
MOST_BUILDS = 15
TIGHT_SHARE = 0.3
"""Share of the runs whose cache is limited to little more than what one shard takes."""
LOCAL_SHARE = 0.25
"""Share of the runs whose dataset lies in a folder that all machines share; the rest are in a bucket."""
RATE = 1200.0
"""Videos an hour of the paced server."""
EXPECTED_FAILURES = (WorkRemains, StoreFailed)
"""How a command may end while things go wrong."""


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    seed: int
    trace: str
    """Digest of all that changed, and when."""
    seconds: float
    """Simulated."""
    steps: int
    kills: int
    endings: tuple[str, ...]
    """How each command ended."""


class _Unswept(LocalStore):
    """Planted: what killed writers left stays."""

    def sweep(self) -> int:
        return 0


class Run:
    """See `play`."""

    def __init__(self, seed: int, planted: Fault, scratch: Path) -> None:
        self.seed, self.scratch = seed, scratch
        self.world = World(seed)
        self.random = self.world.random
        self.shape = self.random.choice(SHAPES)
        self.columns, self.clips = asked(self.shape)
        self.machines = [Machine(f"driver-{n}", skew=self.random.uniform(-300.0, 300.0)) for n in range(2)]
        self.bucket = Bucket(self.world, self._rates(), planted, killer=self._kill)
        place = random.Random(f"place {seed}")  # noqa: S311  a simulation; of its own, so that seeds keep their runs
        is_local = planted == "no sweep" or (not planted and place.random() < LOCAL_SHARE)
        self.folder = SharedFolder(scratch / "dataset", self.bucket) if is_local else None
        self.uri = URI if self.folder is None else str(self.folder.root)
        self.watcher = Watcher(self.bucket)
        self.network = self._network()
        self.server = (PacedServer if self.random.random() < 0.4 else Server)("server")
        self.cluster = Cluster(self.world, self.network, self.random.randint(1, 3), self.random.randint(1, 2))
        self.cluster.ignores_the_lease = planted == "stale writer"
        self.max_disk = self._max_disk(place) if place.random() < TIGHT_SHARE else None
        self.cluster.max_disk = self.max_disk
        self.processes: list[Process] = []
        self.executors: list[SimulatedExecutor] = []
        self.generations: dict[int, Process] = {}
        self.withdrawn: set[str] = set()
        self.charged: set[str] = set()
        """Videos that nobody answered for while no other one was wanted."""
        self.endings: list[str] = []
        self.kills = 0
        self.is_quiet = False
        self.is_done = False
        self.builds_at_the_end = 0
        self.running = 0

    def _rates(self) -> Rates:
        if self.random.random() < 0.1:
            return Rates()
        return Rates(
            lost=self.random.choice((0.0, 0.02, 0.1)),
            late=0.5,
            slow=self.random.choice((0.0, 0.01, 0.05)),
            deadly=self.random.choice((0.0, 0.005, 0.02)),
        )

    def _max_disk(self, random: random.Random) -> int:
        """Enough for the largest shard, finished and written, and the largest download; seldom for much more."""
        shard = disk.rows(list(self.clips.values())[: self.shape.clips_per_shard], RECIPE, disk.frame_bytes(RECIPE))
        return int((2 * shard + LARGEST_DOWNLOAD) * random.choice((1.0, 1.0, 1.5, 3.0)))

    def _network(self) -> Network:
        videos = sorted({clip.video_id for clip in self.clips.values()})
        truths: dict[str, Truth] = {video: self.random.choice(COMMON) for video in videos}
        network = Network(self.world, truths)
        for windows, chance, longest in ((network.outages, 0.4, 3000.0), (network.refusals, 0.3, 600.0)):
            if self.random.random() < chance:
                begin = self.random.uniform(0.0, TROUBLE)
                windows.append((begin, begin + self.random.uniform(10.0, longest)))
        return network

    # What happens

    def play(self) -> Report:
        """Raises Violation, Endless, and whatever the shipped code must not raise."""
        for _ in range(self.random.choice((1, 1, 2, 2, 3))):
            self.world.at(self.random.uniform(0.0, 200.0), self._start_build)
        if self.random.random() < 0.4:
            self.world.at(self.random.uniform(10.0, TROUBLE), self._start_withdrawal)
        for _ in range(self.random.randrange(5)):
            befalls = self.random.choice((self._kill_one, self._freeze_one, self._lose_node, self._cut_off))
            self.world.at(self.random.uniform(1.0, TROUBLE), befalls)
        self.world.at(TROUBLE + 200.0, self._calm_down)
        self.world.run()
        self._judge()
        return Report(
            self.seed,
            self.watcher.trace.hexdigest()[:16],
            self.world.now,
            self.world.steps,
            self.kills,
            tuple(self.endings),
        )

    def _calm_down(self) -> None:
        self.is_quiet = True
        self.bucket.rates = Rates()
        if not self.running:
            self._start_build()

    def _judge(self) -> None:
        for executor in self.executors:
            if executor.too_early:
                raise Violation(f"asked while the address rests: {executor.too_early[0]}")
            for (before, _), (after, video) in zip(executor.asked, executor.asked[1:], strict=False):
                if after - before < 3600 / RATE - 1e-6:
                    raise Violation(f"{video} was asked {after - before:.2f} s after another video")
        if not self.is_done:
            raise Violation(f"no build ended with 0: {self.endings[-3:]}")
        for node in self.cluster.alive():
            if node.spool or node.downloads:
                raise Violation(f"{node.id} keeps {sorted(node.spool) or sorted(node.downloads)}")
        if self.cluster.overfull:
            raise Violation(self.cluster.overfull)
        if self.folder is not None and (stray := self.folder.stray()):
            raise Violation(f"{stray[0]} was left behind")
        dataset = Dataset(self._direct_store(), RECIPE, CLASSES, {})
        check_end(
            dataset,
            self.bucket,
            self.clips,
            self.network.truths,
            self.network.own_failures,
            self.withdrawn,
            self.charged,
        )

    def _direct_store(self) -> Store:
        """One that answers at once, outside of the simulated time."""
        if self.folder is not None:
            return LocalStore(self.uri)
        client = Client(self.bucket, Process(Machine("judge"), 0, 0.0))
        client.call = lambda function, *arguments, long=False, **options: client.carry_out(  # type: ignore[method-assign]
            function, arguments, options, waits=False
        )
        return ObjectStore(URI, client)  # type: ignore[arg-type]

    # Faults

    def _kill(self, process: Process) -> None:
        self.kills += 1
        self.world.kill(process)

    def _alive(self) -> list[Process]:
        """The commands, and the workers that are writing."""
        return [one for one in [*self.processes, *self.cluster.workers] if one.is_alive and one.tasks]

    def _kill_one(self) -> None:
        if alive := self._alive():
            self._kill(self.random.choice(alive))

    def _freeze_one(self) -> None:
        if alive := self._alive():
            self.random.choice(alive).frozen_until = self.world.now + self.random.uniform(5.0, 300.0)

    def _cut_off(self) -> None:
        self.random.choice(self.machines).cut_off_until = self.world.now + self.random.uniform(5.0, 200.0)

    def _lose_node(self) -> None:
        node = self.random.choice(self.cluster.alive())
        if len(self.cluster.alive()) == 1 or self.random.random() < 0.5:
            self.cluster.add_node()
        node.is_alive = False
        for executor in self.executors:
            executor.lose(node)

    # Commands

    def store_of(self, process: Process) -> Store:
        if self.folder is not None:
            return (_Unswept if self.bucket.planted == "no sweep" else LocalStore)(self.uri)
        return ObjectStore(URI, Client(self.bucket, process))  # type: ignore[arg-type]

    def current_store(self, uri: str) -> Store:
        assert self.world.current is not None
        return self.store_of(self.world.current.process)

    def _start_build(self) -> None:
        self._start(self._build)

    def _start_withdrawal(self) -> None:
        self._start(self._withdraw)

    def _start(self, command: object) -> None:
        process = self.world.process(self.random.choice(self.machines))
        self.processes.append(process)
        self.running += 1

        def body() -> None:
            command(process)  # type: ignore[operator]

        self.world.start(process, body, lambda error: self._ended(process, command, error))

    def _ended(self, process: Process, command: object, error: BaseException | None) -> None:
        self.running -= 1
        self.world.kill(process)  # its other threads end with it
        if error is None:
            self.endings.append("done")
        elif isinstance(error, Killed):
            self.endings.append("killed")
        elif isinstance(error, EXPECTED_FAILURES):
            self.endings.append(f"{type(error).__name__}: {error}")
        else:
            raise error
        if command == self._build and self.is_quiet:
            if error is None:
                self.is_done = True
                return
            self.builds_at_the_end += 1
            if self.builds_at_the_end < MOST_BUILDS:
                self.world.at(BETWEEN, self._start_build)
        elif self.is_quiet:
            if not self.running:
                self.world.at(1.0, self._start_build)
        elif command == self._build and (error is not None or self.random.random() < 0.3):
            self.world.at(self.random.uniform(1.0, 120.0), self._start_build)

    def _machine(self, process: Process) -> leases.Machine:
        machine = process.machine
        return leases.Machine(
            process=leases.Process(machine.name, f"boot of {machine.name}", process.pid, process.started),
            clock=lambda: self.world.now,
            sleep=self.world.sleep,
            now=lambda: BEGAN + self.world.now + machine.skew,
            token=lambda: f"{self.random.getrandbits(64):x}",
            state_of=self._state_of,
        )

    def _state_of(self, holding: Holding, here: leases.Process) -> Running:
        if holding.boot != here.boot:
            return "unknown"
        process = next((one for one in self.processes if one.pid == holding.pid), None)
        if process is None or not process.is_alive:
            return "gone"
        return "stopped" if process.frozen_until > self.world.now else "running"

    def _lease(self, store: Store, process: Process) -> Lease:
        lease = Lease.acquire(store, self._machine(process), renewing=False)
        lease._lock = Lock(self.world)  # type: ignore[assignment]
        if lease.generation in self.generations:
            self.world.fail(Violation(f"two processes hold the lease {lease.generation}"))
        self.generations[lease.generation] = process
        self.world.start(process, lambda: self._renew(lease))
        return lease

    def _renew(self, lease: Lease) -> None:
        """Renews the lease as the thread of a `Lease` does."""
        while True:
            self.world.sleep(RENEW_EVERY)
            if lease._done.is_set():
                return
            with suppress(OSError, UserError):
                if not lease.renew():
                    return

    def _build(self, process: Process) -> None:
        store = self.store_of(process)
        with self._lease(store, process) as lease:
            dataset = Dataset.open_or_create(self.uri, RECIPE, CLASSES, {})
            executor = SimulatedExecutor(self.world, self.cluster, process, self.store_of, self.scratch)
            self.executors.append(executor)
            build = DatasetBuild(
                dataset,
                lease,
                executor,
                {"server": self.server},
                WantedClips(self.columns, PlanSettings(clips_per_shard=self.shape.clips_per_shard), lambda clips: ()),
                Limits(Pace(rate=RATE, slots=2), self.max_disk),
            )
            try:
                for driver in build.drivers(self.scratch):
                    assert isinstance(driver, Driver)
                    executor.on_write = partial(self._check_charges, driver)
                    with closing(driver.run()) as rounds:
                        for _ in rounds:
                            lease.require_held()
            except (LeaseHeld, Superseded):
                lease.renew()
                lease.require_held()
                raise

    def _check_charges(self, driver: Driver, records: Sequence[Record]) -> None:
        """Checks a shard that is now written: a video may be charged with an outage only while no other one is wanted.
        Alone, nobody can tell the two apart."""
        wanted = {one.clip.video_id for one in driver._clips.values() if one.on_network and not one.is_finished}
        for record in records:
            video = record.video_id
            if record.outcome == "network" and self.network.own_failures[video] < POLICY["network"].attempts:
                self.charged.add(video)
                if wanted - {video}:
                    self.world.fail(Violation(f"{video} is charged with an outage at {self.world.now:.0f} s"))

    def _withdraw(self, process: Process) -> None:
        store = self.store_of(process)
        if not store.exists("dataset.json"):
            return
        dataset = Dataset.open(self.uri)
        clip = self.random.choice(sorted(self.clips))
        with self._lease(store, process) as lease:
            withdraw(dataset, [clip], "asked by its owner")
            self.withdrawn.add(clip)
            finish_withdrawals(dataset, self.scratch, lambda: leases.is_current(store, lease.generation))


def play(seed: int, planted: Fault = "") -> Report:
    """Plays the run of a seed. Raises Violation, or whatever else shows a defect."""
    random.seed(seed)  # the shipped code's own random numbers
    with tempfile.TemporaryDirectory(dir=_memory()) as scratch:
        run = Run(seed, planted, Path(scratch))
        with replaced(run.current_store), run.folder.installed() if run.folder else nullcontext():
            return run.play()


def _memory() -> str | None:
    """A folder whose files cost nothing, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
