"""`status --watch`: the build at work, again and again until it ends; on a terminal in place, in a log line by line."""

from __future__ import annotations

import json
import time

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.text import Text

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.datasets.live_screen import lines, summary
from kinetics_pipeline.workflows.datasets.status import live_state, look, look_at_beginning, show, who_builds
from kinetics_pipeline.workflows.runtime.progress import duration

LOOK_EVERY = 5.0
"""Seconds between two looks; the build writes every 15."""
LINE_EVERY = 15.0
"""Seconds between two lines of a log."""


def watch(uri: str, as_json: bool) -> None:
    """Shows the build until it ends, then the dataset. `as_json`: one document a line. Raises UserError where there is
    no dataset, and none begins."""
    store = open_store(uri)
    if as_json:
        _documents(uri, store)
        return
    if look_at_beginning(store) is None:
        Dataset.open(uri)
    console = Console(highlight=False)
    if console.is_terminal:
        _screen(store, console)
    else:
        _log(store)
    dataset = Dataset.open(uri)
    show(dataset, look(dataset))


def _documents(uri: str, store: Store) -> None:
    while True:
        document = look_at_beginning(store) or look(Dataset.open(uri))
        print(json.dumps(document), flush=True)
        if document["building"] is None:
            return
        time.sleep(LINE_EVERY)


def _log(store: Store) -> None:
    while (told := _told(store)) is not None:
        print(told[1], flush=True)
        time.sleep(LINE_EVERY)


def _screen(store: Store, console: Console) -> None:
    with Screen(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as screen:
        while (told := _told(store)) is not None:
            screen.update(Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in told[0])), refresh=True)
            time.sleep(LOOK_EVERY)


def _told(store: Store) -> tuple[list[str], str] | None:
    """The screen, and all in one line; None when nobody builds."""
    live, damage = live_state(store)
    building = who_builds(store, live)
    if building is None:
        return None
    silent = f"silent for {duration(building['silent_seconds'])}: " if "silent_seconds" in building else ""
    who = visible(f"{store.uri}: {silent}built by process {building['pid']} on {building['host']}")
    if live is None or live.ended:
        waiting = visible("; ".join(damage)) or "the build is starting"
        return [who, waiting], waiting
    return [who, *lines(live, time.time())], silent + summary(live)
