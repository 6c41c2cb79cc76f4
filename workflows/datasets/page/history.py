"""What the log of a dataset's builds says of pauses: only on the machine, and in the cache, that a build wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.watch.event_log import lines_with, log_folder

MOST_EVENTS = 300
"""Pauses told, the newest."""
_KINDS = ("paused", "stalled", "ended")
_LONGEST = 300


def build_events(dataset: Dataset, cache: Path) -> list[dict[str, Any]] | None:
    """The pauses, the standstills and the ends of builds, oldest first: `{"event", "begins", "ends", "what"}`, times in
    seconds since 1970; a pause ends when its lane may go on, the others last no time. None where there is no log.
    """
    folder = log_folder(cache.absolute(), CacheFolders.of_dataset(cache, dataset).root.name)
    if not folder.is_dir():
        return None
    found = list(_events(folder))
    found.sort(key=lambda one: (one["begins"], one["ends"]))
    return found[-MOST_EVENTS:]


def _events(folder: Path) -> Iterator[dict[str, Any]]:
    for line in lines_with(folder, [f'"event":"{kind}"' for kind in _KINDS]):
        begins = _unix(line, "time")
        if line.get("event") not in _KINDS or begins is None:
            continue
        until = _unix(line, "until") if line["event"] == "paused" else None
        what = ", ".join(str(line[name]) for name in ("lane", "detail") if line.get(name))
        ends = begins if until is None else max(begins, until)
        yield {"event": line["event"], "begins": begins, "ends": ends, "what": what[:_LONGEST]}


def _unix(line: Mapping[str, Any], name: str) -> int | None:
    try:
        moment = datetime.fromisoformat(str(line.get(name, "")))
        return int(moment.timestamp()) if moment.tzinfo is not None else None
    except (ValueError, OverflowError, OSError):
        return None
