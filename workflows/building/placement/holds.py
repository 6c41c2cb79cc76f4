"""Keeps nodes alive whose files are needed: downloads that wait for a core, finished clips that wait for their shard.

An autoscaler takes a node that does nothing. Files do nothing, so a small share of a core is taken where they lie, and
given back with the last of them. The driver's own node needs none: the driver is on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

import ray

from kinetics_pipeline.workflows.building.nodes import on
from kinetics_pipeline.workflows.building.resources import TABLE

LINGER = 120.0
"""Seconds that an actor without work stays on a node which is not needed. To start it again takes a few seconds of a
core."""


class _Hold:
    """Does nothing, and takes its share."""


class Holds:
    """The nodes that are held for one build."""

    def __init__(self, here: str) -> None:
        """`here`: the driver's own node."""
        self._here = here
        self._actors: dict[str, Any] = {}

    def keep(self, nodes: Collection[str], alive: Collection[str]) -> None:
        """Holds these nodes from now on, and lets go of the others."""
        wanted = {node for node in nodes if node != self._here and node in alive}
        for node in [node for node in self._actors if node not in wanted]:
            with suppress(ray.exceptions.RayError):
                ray.kill(self._actors.pop(node))
        for node in wanted - self._actors.keys():
            self._actors[node] = _hold.options(scheduling_strategy=on(node)).remote()


_hold = ray.remote(**TABLE["hold"].options(max_restarts=-1))(_Hold)


class Idle:
    """Which actors have had nothing to do for `LINGER` seconds: they would keep their node alive for nothing."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def ended(self, nodes: Iterable[str], busy: Collection[str], now: float) -> list[str]:
        """The nodes, of those with an actor, whose actor is to go. `busy`: those that are needed or at work."""
        nodes = set(nodes)
        self._since = {node: self._since.get(node, now) for node in nodes if node not in busy}
        return sorted(node for node, since in self._since.items() if now - since >= LINGER)
