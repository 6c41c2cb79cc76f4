"""The live state of a build as lines of text, at most 80 characters wide where names allow it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.workflows.building.watch.live import PAUSES, Live
from kinetics_pipeline.workflows.runtime.progress import duration, precise_duration, size

NODES_NAMED = 6
BAR = 20
"""Characters of the bar."""
WIDTH = 78


def lines(live: Live, now: float) -> list[str]:
    """`now`: Unix time. No line has anything in it that acts on a terminal."""
    return [visible(line) for line in _lines(live, now)]


def summary(live: Live) -> str:
    """All in one line, for a log."""
    parts = [f"{live.done} of {live.total} {live.things}"]
    if live.per_second:
        parts.append(rate(live.per_second * 3600, "clips"))
    if (left := time_left(live)) is not None:
        parts.append(left)
    failed = sum(number for outcome, number in live.outcomes.items() if outcome != "ok")
    parts += [f"{failed} failed"] if failed else []
    if live.no_progress:
        parts.append(f"no progress: {live.no_progress}")
    elif live.limiting:
        parts.append(f"{live.limiting} limits: {live.why}")
    return visible(" · ".join(parts))


def _lines(live: Live, now: float) -> Iterator[str]:
    share = min(1.0, live.done / live.total) if live.total else 0.0
    bar = "#" * round(BAR * share) + "." * (BAR - round(BAR * share))
    yield f"[{bar}] {live.done:,} of {live.total:,} {live.things}" + (f", plan {live.plan}" if live.plan else "")
    told = [f"running for {duration(live.time - live.since)}", *filter(None, [time_left(live)])]
    yield from _wrapped(", ".join([*told, f"as of {duration(max(0.0, now - live.time))} ago"]), "  ")
    if live.no_progress:
        yield from _wrapped(f"no progress for {duration(live.time - live.progressed)}: {live.no_progress}", "  ")
    elif live.limiting:
        yield from _wrapped(f"{live.limiting} limits: {live.why}", "  ")
    if live.things == "clips":
        yield from _stages(live)
        yield from _totals(live)
    yield from _lanes(live, now)
    yield from _nodes(live)
    for one in live.stragglers:
        slow = f"{one.name} in {one.stage} for {duration(one.seconds)}, usually {precise_duration(one.usual)}"
        yield from _wrapped(f"straggler: {slow}", "  ")
    if live.errors:
        yield "last errors:"
    for error in live.errors:
        ago = duration(max(0.0, live.time - error.time))
        yield from _wrapped(f"  {error.kind} x {error.count}, {ago} ago, {error.name}: {error.detail}", "    ")


def _stages(live: Live) -> Iterator[str]:
    yield f"{'stage':<9}{'in flight':>10}{'waiting':>10}{'an hour':>12}{'usually':>14}"
    for stage in live.stages:
        usual = "" if stage.usual is None else precise_duration(stage.usual)
        hourly = f"{stage.per_hour:,.0f}"
        yield f"{stage.name:<9}{stage.in_flight:>10,}{stage.waiting:>10,}{hourly:>12}{usual:>14}  {stage.unit}"


def _totals(live: Live) -> Iterator[str]:
    outcomes = sorted(live.outcomes.items(), key=lambda item: (item[0] != "ok", -item[1]))
    if outcomes:
        yield from _wrapped("this run: " + ", ".join(f"{name} {number:,}" for name, number in outcomes), "  ")
    total = sum(live.seconds.values())
    if total:
        spent = sorted(live.seconds.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {value / total:.0%}" for name, value in spent)
        yield from _wrapped(f"time of clips: {shares}", "  ")
    devices = counted(live.gpus, "GPU") if live.gpus else counted(live.places, "core")
    yield f"{devices}, {live.busy:.0%} busy; {counted(live.retries, 'retry')}; fetched {size(live.bytes_fetched)}"
    written = f"{counted(live.shards, 'shard')} written, {size(live.bytes_written)}"
    yield f"{written}; {counted(live.in_cache, 'clip')} finished in the cache"
    if live.cache is not None:
        limit = "" if live.cache.limit is None else f" of --max-disk {size(live.cache.limit)}"
        yield f"cache: {size(live.cache.used)}{limit}, {size(live.cache.free)} free"
        if live.cache.short:
            yield from _wrapped(f"disk short: {live.cache.short}", "  ")


def _lanes(live: Live, now: float) -> Iterator[str]:
    for lane in live.lanes:
        state = f"{lane.in_flight} in flight, {lane.waiting:,} waiting"
        if lane.paused_until > now:
            until = time.strftime("%H:%M", time.localtime(min(lane.paused_until, 2**33)))
            state = f"paused until {until}, {PAUSES.get(lane.reason, lane.reason)}; {lane.waiting:,} waiting"
        asked = f"{counted(lane.requests, 'request')}, {size(lane.bytes)}"
        yield from _wrapped(f"{lane.name}: {state}; {asked} in all", "  ")


def _nodes(live: Live) -> Iterator[str]:
    if len(live.nodes) > 1:
        named = sorted(live.nodes, key=lambda node: -node.clips)
        more = f", and {len(named) - NODES_NAMED} more" if len(named) > NODES_NAMED else ""
        some = ", ".join(f"{node.name} {node.clips:,}" for node in named[:NODES_NAMED])
        yield from _wrapped(f"{counted(len(named), 'node')}, clips of each: {some}{more}", "  ")


def time_left(live: Live) -> str | None:
    """`2 h 10 min left (1 h 50 min to 2 h 40 min)`; None while there is nothing to go by."""
    if live.left is None or live.done >= live.total:
        return None
    if live.left_low is None or live.left_high is None:
        return f"{duration(live.left)} left"
    return f"{duration(live.left)} left ({duration(live.left_low)} to {duration(live.left_high)})"


def rate(per_hour: float, things: str) -> str:
    """`1,204 clips an hour`, `3.2 clips a second`."""
    return f"{per_hour / 3600:.1f} {things} a second" if per_hour >= 36_000 else f"{per_hour:,.0f} {things} an hour"


def _wrapped(text: str, indent: str) -> Iterator[str]:
    """Lines of at most `WIDTH` characters; a word that is longer stays whole."""
    line = ""
    for word in text.split(" "):
        if line.strip() and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    yield line
