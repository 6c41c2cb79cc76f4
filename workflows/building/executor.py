"""What the driver needs of whatever does the work: Ray on a cluster (`ray_executor`), or a simulation of one.

Each stage adds what starts its own work and tells what came of it: `FetchExecutor`, `ClipExecutor`, `WriteExecutor`,
`DiskExecutor`. What may have vanished comes back as `Lost`, in every stage.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Ref = Hashable
"""Stands for work that was started."""


@dataclass(frozen=True)
class Lost:
    """The work vanished, with its worker or its node, or was ended because it took too long. That says nothing of the
    clip or the shard."""

    reason: str
    archive_gone: bool = False
    """Whether nothing was tried, because the archive went with its node."""


@dataclass(frozen=True)
class Moment:
    """What two clocks say."""

    unix: float
    """Seconds since 1970, by this machine's clock: for what outlives the driver."""
    monotonic: float
    """Seconds of a clock that never jumps: for how long something takes."""


class Executor(Protocol):
    """Time, nodes, and work that is under way."""

    def now(self) -> Moment: ...

    def rest(self, seconds: float) -> None:
        """Returns after so many seconds."""

    def here(self) -> str:
        """The id of the driver's own node."""

    def nodes(self) -> Mapping[str, str]:
        """The name, by node id, that each node which is alive will also have in a later cluster."""

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Keeps these nodes from an autoscaler that takes nodes which do nothing: their files are needed. The others
        are let go, as far as nothing is at work there."""

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        """The `refs` that have ended; waits so many seconds for the first of them."""
