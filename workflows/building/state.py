"""The small JSON documents in a dataset's `state/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.runtime.progress import size

RUN = "state/run.json"
"""The last command that worked on the dataset (`command`), and what was asked of it (`config`)."""
PROGRESS = "state/progress.json"
"""How far the build that is at work is."""
LANES = "state/egress.json"
"""The ways out: what each was answered and when it may ask again (`Egress`), and its `Traffic` over all runs."""


def read_state(store: Store, name: str) -> dict[str, Any] | None:
    """None when there is none. Raises JobFailed, one line, when it is damaged."""
    try:
        document = json.loads(store.read(name))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _damaged(store, name)
    return document


def last_run(store: Store) -> dict[str, Any] | None:
    """What `RUN` says; None where nothing was built. Raises JobFailed when it is damaged."""
    run = read_state(store, RUN)
    if run is not None and not (isinstance(run.get("command"), str) and isinstance(run.get("config"), dict)):
        raise _damaged(store, RUN)
    return run


def kept_by_the_last_build(store: Store) -> str | None:
    """Its `--keep-clips`."""
    run = last_run(store)
    kept = None if run is None else run["config"].get("keep_clips")
    return str(kept) if kept else None


def look_at_lanes(store: Store) -> dict[str, dict[str, Any]]:
    """What `LANES` says, by the lanes' names. Raises JobFailed when it is damaged."""
    return read_state(store, LANES) or {}


def traffic(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What went over the network between two states of the lanes, in a line; empty when nothing did."""
    requests, fetched, whole = (
        sum(lane.get(name, 0) for lane in now.values()) - sum(lane.get(name, 0) for lane in before.values())
        for name in ("requests", "bytes_fetched", "bytes_whole")
    )
    if not requests:
        return ""
    share = f" of {size(whole)} in whole files ({fetched / whole:.0%})" if whole else ""
    return f"fetched {size(fetched)}{share} in {requests} requests"


def _damaged(store: Store, name: str) -> JobFailed:
    return JobFailed(f"{store.uri}/{name} is damaged; it holds no clips: remove it, and it is written anew")
