"""`status`: what a dataset holds, what failed and why, what is pending, and what to run next."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import DATASET, Counts, Dataset
from kinetics_pipeline.records import FINAL, NEEDS_ACCESS, RETRYABLE
from kinetics_pipeline.redaction import counted, html_table, visible
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.advice import advice, command_of
from kinetics_pipeline.workflows.building.lease import condition
from kinetics_pipeline.workflows.building.recorded_command import checked_command
from kinetics_pipeline.workflows.building.state import last_run, look_at_lanes, traffic
from kinetics_pipeline.workflows.building.watch.live import PAUSES, DamagedLive, Live, read_live
from kinetics_pipeline.workflows.datasets.live_screen import lines
from kinetics_pipeline.workflows.runtime.progress import duration, size

HOPELESS, WITH_ACCESS, LATER = "final", "with access", "another day: --retry"


def status(uri: str, as_json: bool) -> None:
    """Prints the table, or the contract's document. Raises UserError where there is no dataset, and none begins."""
    store = open_store(uri)
    if (beginning := look_at_beginning(store)) is not None:
        if as_json:
            print(json.dumps(beginning, indent=2))
        else:
            _show_beginning(store, beginning)
        return
    dataset = Dataset.open(uri)
    document = look(dataset)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        show(dataset, document)


@dataclass(frozen=True)
class Status:
    """What a dataset holds, and how a build of it goes. `live`, `building` and `egress` are as in `status --json`."""

    dataset: str
    """Its place."""
    clips: int
    """Clips that were asked."""
    ok: int
    pending: int
    failed: dict[str, int]
    """Clips by outcome."""
    shards: int
    bytes: int
    egress: list[dict[str, Any]]
    next: str
    """The command to run next."""
    building: dict[str, Any] | None
    live: dict[str, Any] | None
    advice: list[str]
    """What the failures say together, and what to do."""

    def _repr_html_(self) -> str:
        rows = [("ok", self.ok), *self.failed.items(), ("pending", self.pending)]
        told = [
            f"{counted(self.clips, 'clip')} asked, {counted(self.shards, 'shard')}, {size(self.bytes)}",
            *self.advice,
        ]
        told += [f"being built by process {self.building['pid']} on {self.building['host']}"] if self.building else []
        return html_table(self.dataset, [*rows, *([line] for line in told)], ("outcome", "clips"))


def look(dataset: Dataset) -> dict[str, Any]:
    """`{"clips", "ok", "pending", "failed": {outcome: n}, "shards", "bytes", "egress": [...], "next": command}`, and
    `building`: who is at work, with how many clips of the present plan are done; `live`: how that goes (`Live`), or
    how the last one ended; `advice`: what the failures say together, a line each."""
    with dataset.one_listing():
        counts = dataset.counts()
        unfinished = dataset.unfinished() is not None
    store = dataset.store
    live, damage = live_state(store)
    building = who_builds(store, live)
    return {
        "clips": counts.clips,
        "ok": counts.ok,
        "pending": counts.pending,
        "failed": counts.failed,
        "shards": counts.shards,
        "bytes": counts.bytes,
        "egress": [{"name": name, **state} for name, state in sorted(look_at_lanes(store).items())],
        "next": _next(dataset, counts, unfinished=unfinished, building=building is not None),
        "building": building,
        "live": None if live is None else msgspec.to_builtins(live),
        "advice": [*damage, *advice(counts.reasons, command_of(dataset))],
    }


def look_at_beginning(store: Store) -> dict[str, Any] | None:
    """The document of a place where a build is about to begin a dataset; None where there is one already, or no build.
    A build makes the dataset once a node has computed a pair of frames, which may have to come first."""
    if store.exists(DATASET):
        return None
    live, damage = live_state(store)
    building = who_builds(store, live)
    if building is None or building["state"] == "silent":
        return None
    nothing = dict.fromkeys(("clips", "ok", "pending", "shards", "bytes"), 0)
    return {
        **nothing,
        "failed": {},
        "egress": [],
        "next": f"kinetics-pipeline status {shlex.quote(store.uri)}",
        "building": building,
        "live": None if live is None else msgspec.to_builtins(live),
        "advice": damage,
    }


def _show_beginning(store: Store, document: dict[str, Any]) -> None:
    """Prints what `look_at_beginning` gave."""
    console = Console(highlight=False)
    console.print(visible(f"{store.uri}: no dataset yet, a build begins one"), markup=False, soft_wrap=True)
    _show_build(console, document["building"], document["live"])
    console.print(visible(f"next: {document['next']}"), soft_wrap=True, markup=False)


def live_state(store: Store) -> tuple[Live | None, list[str]]:
    """What the build at work, or the last one that was interrupted, says of itself; else None, with a line where that
    is damaged."""
    try:
        return read_live(store), []
    except DamagedLive as damage:
        return None, [str(damage)]


def who_builds(store: Store, live: Live | None) -> dict[str, Any] | None:
    """Who holds the lease, with how far `live` says it is; None when nobody does."""
    lease = condition(store)
    if lease is None or lease.state == "ended":
        return None
    holding = lease.holding
    building = {"host": holding.host, "pid": holding.pid, "since": holding.since, "state": lease.state}
    building |= {"silent_seconds": round(lease.silent_seconds)} if lease.state == "silent" else {}
    if live is not None and not live.ended:
        building |= {"done": live.done, "total": live.total, "per_second": live.per_second, "time": live.time}
    return building


def _next(dataset: Dataset, counts: Counts, *, unfinished: bool, building: bool) -> str:
    place = shlex.quote(dataset.store.uri)
    if building:
        return f"kinetics-pipeline status {place}"
    command = _recorded(dataset)
    if (counts.pending or unfinished) and command is not None:
        return command
    if counts.ok:
        return f"kinetics-pipeline train {place} --model i3d --stream rgb --run runs/rgb"
    again = sorted(RETRYABLE & counts.failed.keys())
    if again and command is not None:
        return f"{command} --retry {','.join(again)}"
    return f"kinetics-pipeline report {place}"


def _recorded(dataset: Dataset) -> str | None:
    run = last_run(dataset.store)
    return None if run is None else checked_command(run.command, dataset.store.uri)


def show(dataset: Dataset, document: dict[str, Any]) -> None:
    """Prints what `look` gave."""
    console = Console(highlight=False)
    recipe = dataset.recipe
    flow = "no flow" if recipe.flow == "none" else f"{recipe.flow} by {recipe.flow_backend}"
    console.print(
        f"{dataset.store.uri}: {recipe.fps:g} fps, short side {recipe.short_side}, {flow}, {recipe.layout}, "
        f"{counted(len(dataset.classes), 'class')}",
        soft_wrap=True,
        markup=False,
    )
    table = Table("outcome", "clips", "", box=None, pad_edge=False)
    table.add_row("ok", str(document["ok"]), "")
    for outcome, number in sorted(document["failed"].items(), key=lambda item: -item[1]):
        kinds = ((FINAL, HOPELESS), (NEEDS_ACCESS, WITH_ACCESS), (RETRYABLE, LATER))
        table.add_row(outcome, str(number), next(word for outcomes, word in kinds if outcome in outcomes))
    table.add_row("pending", str(document["pending"]), "")
    console.print(table)
    console.print(
        f"{counted(document['clips'], 'clip')} asked, {counted(document['shards'], 'shard')}, {size(document['bytes'])}"
    )
    if fetched := traffic({}, {egress["name"]: egress for egress in document["egress"]}):
        console.print(fetched)
    for line in document["advice"]:
        console.print(visible(line), markup=False, soft_wrap=True)
    told = document["building"] is not None and document["live"] is not None  # the lanes are among it
    for egress in [] if told else document["egress"]:
        if (egress.get("paused_until") or 0) > time.time():
            until = time.strftime("%Y-%m-%d %H:%M", time.localtime(egress["paused_until"]))
            left = duration(egress["paused_until"] - time.time())
            reason = egress.get("reason") or ""
            console.print(
                visible(f"{egress['name']} is paused until {until}, {left} from now: {PAUSES.get(reason, reason)}"),
                markup=False,
                soft_wrap=True,
            )
    _show_build(console, document["building"], document["live"])
    console.print(visible(f"next: {document['next']}"), soft_wrap=True, markup=False)


def _show_build(console: Console, building: dict[str, Any] | None, document: dict[str, Any] | None) -> None:
    """Who is at work and how that goes, or how the last build ended."""
    live = None if document is None else msgspec.convert(document, Live)
    if building is None:
        if live is not None and live.ended:
            ago = duration(max(0.0, time.time() - live.time))
            console.print(visible(f"the last build ended {ago} ago: {live.ended}"), markup=False, soft_wrap=True)
        return
    line = f"being built by process {building['pid']} on {building['host']}"
    if building["state"] == "silent":
        line = f"process {building['pid']} on {building['host']} is silent for {building['silent_seconds']} s"
    console.print(visible(line), markup=False, soft_wrap=True)
    if live is not None and not live.ended:
        for line in lines(live, time.time()):
            console.print(line, markup=False, soft_wrap=True)
