"""Where a build's temporary files lie, and how a file made on one node reaches another.

Frames never travel, and encoded clips stay where they were made: in files of the cache. Who needs a file that is not
on its own node asks the node that has it; with a cache that the nodes share nothing is asked at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kinetics_pipeline.errors import JobFailed, UserError

PART = 32 << 20
"""Bytes of a file that travel in one message."""

LOST = (
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.RayActorError,
    ray.exceptions.TaskUnschedulableError,
    ray.exceptions.WorkerCrashedError,
)
"""What `ray.get` raises when a worker or a node went away with the work: it says nothing about the work itself."""


@dataclass(frozen=True)
class Workplace:
    """The folders of one dataset's build in the cache, the same path on every node."""

    root: Path

    @classmethod
    def of(cls, cache: Path, dataset: str) -> Workplace:
        """`dataset` is whatever tells datasets that share a cache apart: URI and recipe."""
        return cls(cache.absolute() / hashlib.sha256(dataset.encode()).hexdigest()[:16])

    @property
    def raw(self) -> Path:
        """Downloads, by source and video; resumed by a later run."""
        return self.root / "raw"

    @property
    def spool(self) -> Path:
        """Finished clips, until their shard is committed."""
        return self.root / "spool"

    @property
    def scratch(self) -> Path:
        """What one process needs while it works; of no use to a later run."""
        return self.root / "scratch"

    def video(self, source: str, video_id: str) -> Path:
        """The folder of one video's downloads from one source."""
        return self.raw / hashlib.sha256(source.encode()).hexdigest()[:8] / f"v{video_id}"

    @contextmanager
    def desk(self) -> Iterator[Path]:
        """A folder of one's own in `scratch`, gone on leaving."""
        folder = self.scratch / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def bytes_used(self) -> int:
        """Bytes of all files below the root; files that vanish meanwhile do not count."""
        total = 0
        for folder, _, names in os.walk(self.root):  # unlike `rglob`, it passes over folders that vanish meanwhile
            for name in names:
                with suppress(FileNotFoundError):
                    total += os.stat(os.path.join(folder, name)).st_size
        return total

    def prepare(self) -> None:
        """Makes the folders, and shows that files can be written there. Raises UserError, one line, where not."""
        try:
            for folder in (self.raw, self.spool, self.scratch):
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".{uuid.uuid4().hex}.tmp"
                probe.write_bytes(b"probe")
                probe.unlink()
        except OSError as error:
            what = f"{self.root.parent}, which cannot be written: {error.strerror or error}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JobFailed(f"--cache is {what}; make room, or name another disk") from None
            raise UserError(f"--cache is {what}; allowed: a folder that every node can write") from None

    def clear(self) -> None:
        """Takes everything away, and the cache folder too when nothing else is in it."""
        shutil.rmtree(self.root, ignore_errors=True)


@dataclass(frozen=True)
class Located:
    """A file and the node that has it."""

    path: Path
    node: str


def on(node: str, *, soft: bool = False) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id=node, soft=soft)


def this_node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def nodes() -> list[str]:
    """The ids of the nodes that are alive; their machines in an order that outlives the cluster, whose ids do not."""
    return list(named_nodes())


def named_nodes() -> dict[str, str]:
    """By its id what a node that is alive can be called in a later cluster too: a digest of its machine's name, and
    for a second node on that machine its number."""
    alive = sorted((node["NodeManagerHostname"], node["NodeID"]) for node in ray.nodes() if node["Alive"])
    named: dict[str, str] = {}
    of_machine: Counter[str] = Counter()
    for machine, node in alive:
        of_machine[machine] += 1
        number = f"-{of_machine[machine]}" if of_machine[machine] > 1 else ""
        named[node] = hashlib.sha256(machine.encode()).hexdigest()[:8] + number
    return named


def answer(ref: ray.ObjectRef) -> Any:
    """What a task returned. Raises the UserError that it raised, without Ray's words around it, and Ray's errors."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def on_every_node(task: Any, *arguments: Any, **named: Any) -> list[Any]:
    """What a remote function returns on each node. A node that is lost meanwhile says nothing."""
    results = []
    for ref in [task.options(scheduling_strategy=on(node)).remote(*arguments, **named) for node in nodes()]:
        with suppress(*LOST):
            results.append(answer(ref))
    return results


@ray.remote(num_cpus=0, max_retries=1)
def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(PART)


def bring(file: Located, desk: Path) -> Path:
    """The file on this node: itself where it is (or the cache is shared), else a copy in `desk`.

    Raises FileNotFoundError when its node is gone or no longer has it.
    """
    if file.path.exists():
        return file.path
    if file.node == this_node():
        raise FileNotFoundError(file.path)
    copy = desk / file.path.name
    read = _part.options(scheduling_strategy=on(file.node))
    with copy.open("wb") as out:
        while True:
            try:
                part = ray.get(read.remote(file.path, out.tell()))
            except (ray.exceptions.RayError, OSError) as error:
                raise FileNotFoundError(file.path) from error
            out.write(part)
            if len(part) < PART:
                return copy
