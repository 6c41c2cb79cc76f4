"""Whether a cluster can grow: what Ray's monitor says of itself. Ray has no public call for it.

A head without an autoscaler runs the same monitor, which then calls every node's type `node_` and its id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import ray

STATUS = b"__autoscaling_status"
"""Where the first version of the autoscaler keeps its report (`ray._private.ray_constants`)."""
UNMANAGED = re.compile(r"node_[0-9a-f]{20,}")


class _Report(msgspec.Struct):
    active_nodes: dict[str, int] = {}
    pending_nodes: list[object] = []
    pending_launches: dict[str, int] = {}


class _Status(msgspec.Struct):
    autoscaler_report: _Report | None = None


@dataclass(frozen=True)
class Autoscaler:
    """An autoscaler, and what it is about."""

    launching: Mapping[str, int]
    """Type of node -> nodes that are on their way."""

    def __str__(self) -> str:
        on_their_way = ", ".join(f"{count} {kind}" for kind, count in sorted(self.launching.items()))
        return f"its autoscaler brings {on_their_way}" if on_their_way else "its autoscaler is asked"


def autoscaler() -> Autoscaler | None:
    """The autoscaler of the cluster that this process is connected to; None where there is none, or it has not said
    anything yet."""
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2():
        return _second_version()
    said = _internal_kv_get(STATUS)
    return None if said is None else told_by(said)


def told_by(status: bytes) -> Autoscaler | None:
    """What a report of the first version means."""
    try:
        report = msgspec.json.decode(status, type=_Status).autoscaler_report
    except msgspec.DecodeError:
        return None
    if report is None or all(UNMANAGED.fullmatch(kind) for kind in report.active_nodes):
        return None
    launching = dict(report.pending_launches)
    for node in report.pending_nodes:
        if isinstance(node, list) and len(node) > 1 and isinstance(node[1], str):  # address, type, state
            launching[node[1]] = launching.get(node[1], 0) + 1
    return Autoscaler(launching)


def _second_version() -> Autoscaler | None:
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    nodes = [*status.active_nodes, *status.idle_nodes]
    if status.stats.autoscaler_version in (None, "0") or not any(node.instance_id for node in nodes):
        return None
    launching = {one.ray_node_type_name: one.count for one in status.pending_launches}
    for node in status.pending_nodes:
        launching[node.ray_node_type_name] = launching.get(node.ray_node_type_name, 0) + 1
    return Autoscaler(launching)
