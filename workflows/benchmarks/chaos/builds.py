"""The `build` command of a round: begun, watched from outside, and at last left alone until it ends with 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.benchmarks.chaos import quick_build
from kinetics_pipeline.workflows.benchmarks.chaos.ground import RECIPE, SourceKind
from kinetics_pipeline.workflows.benchmarks.chaos.judge import Made, judge, made
from kinetics_pipeline.workflows.benchmarks.chaos.rounds import Round
from kinetics_pipeline.workflows.building.lease import latest

LONGEST = 300.0
"""Seconds that a build may take on a machine with other work."""
TURNS = 4
"""Builds left alone that a round may need to come to its end."""
LOOK_EVERY = 0.05


@dataclass
class Build:
    """One dataset and its cache, and the commands that build it."""

    place: str
    cache: Path
    flags: list[str]
    variables: dict[str, str]
    notes: Path
    """A folder for what the commands say."""
    inline: tuple[str, ...] = ()
    """Annotations and videos where it is built without a cluster."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def of(cls, one: Round, source: SourceKind, *, place: str = "", cache: Path | None = None) -> Build:
        ground = one.ground
        flags = [*ground.source_flags(source), *RECIPE, "--cool-down", "1s"]
        command = [str(ground.annotations), *flags]
        inline = () if ground.cluster is not None else (str(ground.annotations), str(ground.videos))
        return cls(place or one.place, cache or one.cache, command, ground.variables, one.folder, inline)

    def start(self, *, die_at: int = 0, cache: Path | None = None, max_wait: str = "60s") -> subprocess.Popen[bytes]:
        folder = str(cache or self.cache)
        if self.inline:
            words = ["inline", self.place, folder, *self.inline]
        else:
            words = ["build", *self.flags, "--output", self.place, "--cache", folder, "--max-wait", max_wait]
        command = [sys.executable, "-m", quick_build.__name__, str(die_at), *words]
        with self.said(len(self.started)).open("wb") as out:
            self.started.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=self.variables))
        return self.started[-1]

    def said(self, number: int) -> Path:
        return self.notes / f"said-{number}.txt"

    def wait_until(self, event: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
        """Whether the event came before the process ended."""
        ends = time.monotonic() + LONGEST
        while process.poll() is None and time.monotonic() < ends:
            if event():
                return process.poll() is None
            time.sleep(LOOK_EVERY)
        return False

    def end(self, process: subprocess.Popen[bytes], allowed: Collection[int], one: Round) -> int:
        """Waits for its end; a round in which it ends in another way, or says a traceback, has failed."""
        try:
            code = process.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
            one.wrong(f"a build did not end within {LONGEST:.0f} s")
        said = self.said(self.started.index(process)).read_text(errors="replace")
        if code not in allowed or "Traceback" in said:
            one.wrong(f"a build ended with {code}, allowed {sorted(allowed)}: {said[-1500:]}")
        return code

    def finish(self, one: Round, *, allowed: Collection[int] = (0, 3)) -> None:
        """Builds undisturbed until the end; then nothing may be wrong."""
        for _ in range(TURNS):
            if self.end(self.start(), allowed, one) == 0:
                return
        one.wrong(f"{TURNS} undisturbed builds did not come to the end")

    def is_held_by(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether this command is at work."""
        with suppress(UserError):
            newest = latest(open_store(self.place))
            return newest is not None and newest.holding is not None and newest.holding.pid == process.pid
        return False

    def committed(self) -> int:
        return sum(name.endswith(".json") for name in self._names("shards"))

    def planned(self) -> bool:
        return bool(self._names("plans"))

    def spooled(self) -> int:
        return sum(1 for path in _files(self.cache) if path.suffix == ".clip")

    def _names(self, prefix: str) -> list[str]:
        with suppress(UserError):
            return [name for name, _ in open_store(self.place).list(prefix)]
        return []


def _files(folder: Path) -> Iterator[Path]:
    """Those below; folders may vanish meanwhile."""
    for at, _, names in os.walk(folder):
        yield from (Path(at, name) for name in names)


def moments(build: Build) -> dict[str, Callable[[], bool]]:
    """When something may happen to a build."""
    return {
        "the lease was taken": lambda: True,
        "the plan was written": build.planned,
        "a clip was finished": lambda: build.spooled() > 0 or build.committed() > 0,
        "a shard was committed": lambda: build.committed() > 0,
        "three shards were committed": lambda: build.committed() > 2,
    }


def some_moment(one: Round, build: Build, process: subprocess.Popen[bytes]) -> bool:
    """Waits for a moment chosen at random, and a little; whether the build is still at work then."""
    name, event = one.random.choice(list(moments(build).items()))
    came = build.wait_until(lambda: build.is_held_by(process), process) and build.wait_until(event, process)
    one.told.append(f"after {name}" if came else f"it ended before {name}")
    time.sleep(one.random.random() * 0.5)
    return came and process.poll() is None


def undisturbed(one: Round, source: SourceKind) -> Made:
    """What a build that nothing disturbs makes; built once a campaign."""
    known = one.ground.references
    if source not in known:
        folder = Path(tempfile.mkdtemp(prefix=f"undisturbed-{source}", dir=one.ground.folder))
        build = Build.of(one, source, place=str(folder / "dataset"), cache=folder / "cache")
        build.notes = folder
        build.finish(one, allowed=(0,))
        found = made(build.place, build.cache)
        if found.faults or found.left:
            one.wrong(f"the undisturbed build left {found.left}; verify: {found.faults}")
        known[source] = found
    return known[source]


def settle(one: Round, build: Build, source: SourceKind) -> None:
    """Goes on to the end, and judges what is left."""
    one.ground.bucket.share = 0.0
    build.finish(one)
    one.verdicts.append(judge(build.place, build.cache, one.ground.clip_ids, undisturbed(one, source)))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stops a process by SIGSTOP; returns when it has stopped."""
    process.send_signal(signal.SIGSTOP)
    with suppress(psutil.NoSuchProcess):
        stopped = psutil.Process(process.pid)
        while stopped.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.01)
