"""Whether a cluster can grow: what Ray's monitor says of itself. Ray has no public call for it.

A head without an autoscaler runs the same monitor, which then calls every node's type `node_` and its id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import ray

STATUS = b"__autoscaling_status"
"""Where the first version of the autoscaler keeps its report (`ray._private.ray_constants`)."""
UNMANAGED = re.compile(r"node_[0-9a-f]{20,}")


BRINGS_WITHIN = 60.0
"""Seconds after which an autoscaler that has begun nothing is asked whether it can: it looks every few seconds."""
LONGEST_REASON = 200
"""Characters of what a cloud said that are shown."""


class _Report(msgspec.Struct):
    active_nodes: dict[str, int] = {}
    pending_nodes: list[object] = []
    pending_launches: dict[str, int] = {}
    node_availability_summary: object = None


class _Status(msgspec.Struct):
    autoscaler_report: _Report | None = None


@dataclass(frozen=True)
class Autoscaler:
    """An autoscaler, and what it is about."""

    launching: Mapping[str, int]
    """Type of node -> nodes that are on their way."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Type of node -> why the last one could not be started."""

    def __str__(self) -> str:
        return self.told(0.0)

    def told(self, waited: float) -> str:
        """What it does for work that has waited so many seconds."""
        on_their_way = ", ".join(f"{count} {kind}" for kind, count in sorted(self.launching.items()))
        parts = [f"its autoscaler brings {on_their_way}"] if on_their_way else []
        parts += [f"its autoscaler could not start {kind} ({why})" for kind, why in sorted(self.refused.items())]
        if not parts and waited > BRINGS_WITHIN:
            parts = ["its autoscaler brings none: has it a type of node for this, and room for one more?"]
        return "; ".join(parts) or "its autoscaler is asked"


def lack(asked: int, there: int, growing: Autoscaler | None, waited: float) -> str:
    """How many of something were asked for, how many the cluster has, and whether more can come."""
    more = "no autoscaler brings one" if growing is None else growing.told(waited)
    return f"{asked} asked, {there} there; {more}"


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
    return Autoscaler(launching, _refused(report.node_availability_summary))


def _refused(summary: object) -> dict[str, str]:
    """Types of nodes that the cloud does not give now, with its reason."""
    found: dict[str, str] = {}
    kinds = summary.get("node_availabilities") if isinstance(summary, dict) else None
    for kind, record in kinds.items() if isinstance(kinds, dict) else ():
        why = record.get("unavailable_node_information") if isinstance(record, dict) else None
        if isinstance(why, dict):
            found[str(kind)] = _in_a_line(f"{why.get('category', '')}: {why.get('description', '')}")
    return found


def _in_a_line(text: str) -> str:
    return " ".join(text.split()).strip(": ")[:LONGEST_REASON] or "no reason was given"


def _second_version() -> Autoscaler | None:
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    nodes = [*status.active_nodes, *status.idle_nodes]
    if status.stats.autoscaler_version in (None, "0") or not any(node.instance_id for node in nodes):
        return None
    launching = {one.ray_node_type_name: one.count for one in status.pending_launches}
    for node in status.pending_nodes:
        launching[node.ray_node_type_name] = launching.get(node.ray_node_type_name, 0) + 1
    refused = {one.ray_node_type_name: _in_a_line(one.details or "") for one in status.failed_launches}
    return Autoscaler(launching, {kind: why for kind, why in refused.items() if kind not in launching})
