"""The nodes of a Ray cluster: what they are called, how a task is sent to one, and how a file gets from one to another.

Frames never travel, and encoded clips stay where they were made: in files of the cache. Who needs a file that is not
on its own node asks the node that has it; with a cache that the nodes share nothing is asked at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.sources.local.tars import unpack
from kinetics_pipeline.workflows.building.resources import TABLE

PART = 32 << 20
"""Bytes of a file that travel in one message."""

LOST_WORK = (
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
class Located:
    """A file and the node that has it."""

    path: Path
    node: str


def on(node: str, *, soft: bool = False) -> NodeAffinitySchedulingStrategy:
    """Ray's option that places a task on a node; `soft`: on another one where that is gone."""
    return NodeAffinitySchedulingStrategy(node_id=node, soft=soft)


def working_nodes() -> list[str]:
    """The ids of the nodes with a core for work, in the order of `named_nodes`."""
    cores = {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1}
    return [node for node in named_nodes() if node in cores]


def this_node() -> str:
    """The id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def nodes() -> list[str]:
    """The ids of the nodes that are alive; their machines in an order that outlives the cluster, whose ids do not."""
    return list(named_nodes())


def named_nodes() -> dict[str, str]:
    """The name, by node id, that each node which is alive can also have in a later cluster: a digest of its machine's
    name, and for a second node on that machine its number."""
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
        with suppress(*LOST_WORK):
            results.append(answer(ref))
    return results


@ray.remote(**TABLE["files"].options(max_retries=1))
def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(PART)


@ray.remote(**TABLE["files"].options(max_retries=1))
def _unpack(media: Media) -> tuple[str, bytes]:
    assert media.inside is not None
    with TemporaryDirectory(dir=media.path.parent.parent) as scratch:  # of the archive's folder, and removed with it
        path = unpack(media, Path(scratch), media.inside.points)
        return path.name, path.read_bytes()


def unpack_there(node: str, media: Media, folder: Path) -> Path:
    """The video of an archive that lies on another node, as a file in `folder`.

    Raises FileNotFoundError when that node is gone, or no longer has the archive.
    """
    try:
        name, content = ray.get(_unpack.options(scheduling_strategy=on(node)).remote(media))
    except (ray.exceptions.RayError, OSError) as error:
        raise FileNotFoundError(media.path) from error
    path = folder / str(name)
    path.write_bytes(content)
    return path


def bring(file: Located, folder: Path) -> Path:
    """The file on this node: itself where it is (or the cache is shared), else a copy in `folder`.

    Raises FileNotFoundError when its node is gone or no longer has it.
    """
    if file.path.exists():
        return file.path
    if file.node == this_node():
        raise FileNotFoundError(file.path)
    copy = folder / file.path.name
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
