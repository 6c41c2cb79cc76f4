"""What looks at a driver come to: what sets the pace, and why nothing goes on.

Pure functions of what was seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import fmean

from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.building.executor import Moment
from kinetics_pipeline.workflows.building.watch.live import PAUSES
from kinetics_pipeline.workflows.building.watch.look import LaneLook, Look, Work
from kinetics_pipeline.workflows.runtime.progress import duration, precise_duration

BUSY = 0.85
"""Share of the places in use from which the places are what limits."""
QUIET = 20.0
"""Seconds without progress after which the reason is told; looks are 5 s apart, so that it is told within 30 s."""
TIMES_USUAL = 3.0
"""Times the usual duration from which work is a straggler, when it takes a minute as well."""


def busy_share(looks: Sequence[Look]) -> float:
    """Share of the cores, or of the GPUs, that had a clip: 0 to 1."""
    shares = [min(1.0, look.processing / (look.gpus or max(1, look.places))) for look in looks]
    return fmean(shares) if shares else 0.0


def limiting(looks: Sequence[Look], seconds: Mapping[str, float]) -> tuple[str, str]:
    """What sets the pace, and why; both empty when there is nothing to do. `looks`: of the last minute, oldest first.
    `seconds`: what the clips took by step."""
    last = looks[-1]
    if last.cache is not None and last.cache.short:
        return "cache", last.cache.short
    if last.lacks:
        return "process", _waiting_for(last)
    if busy_share(looks) >= BUSY and (last.waiting or last.processing > last.places):
        return _processing(last, seconds)
    if last.wanted or last.fetching:
        return "fetch", _fetching(last)
    if last.processing:
        return _slowest(seconds), f"{counted(last.processing, 'clip')} at work, none waits"
    if last.later:
        wait = duration(last.later_at - last.now.monotonic)
        return "fetch", f"{counted(last.later, 'clip')} to be tried again, the first in {wait}"
    if last.writing or last.full:
        return "write", f"{counted(last.writing, 'shard')} being written"
    return "", ""


def _processing(last: Look, seconds: Mapping[str, float]) -> tuple[str, str]:
    step = _slowest(seconds)
    made = {name: value for name, value in seconds.items() if name != "fetch"}
    if last.gpus:
        busy = f"{min(last.gpus, last.processing)} of {counted(last.gpus, 'GPU')} busy"
    else:
        busy = f"{min(last.places, last.processing)} of {counted(last.places, 'core')} busy"
    waiting = last.waiting + max(0, last.processing - last.places)
    share = f"; {step} takes {made[step] / total:.0%} of the time" if (total := sum(made.values())) else ""
    return step, f"{busy}, {counted(waiting, 'clip')} waiting{share}"


def _slowest(seconds: Mapping[str, float]) -> str:
    """The step of processing that takes most."""
    made = {name: value for name, value in seconds.items() if name != "fetch" and value > 0}
    return max(made, key=made.__getitem__) if made else "process"


def _fetching(last: Look) -> str:
    wanted = [lane for lane in last.lanes if lane.waiting or lane.in_flight]
    waiting = f"{counted(last.wanted, 'video')} waiting"
    if (pause := paused(wanted, last.now)) is not None:
        return f"{pause}; {waiting}"
    paced = [lane for lane in wanted if lane.interval and lane.waiting]
    if paced and all(lane.next_allowed_at > last.now.unix or lane.in_flight for lane in paced):
        lane = paced[0]
        rate = f"{lane.source} is asked for {counted(round(3600 / lane.interval), 'video')} an hour at most (--rate)"
        slow = [one for one in paced if one.in_flight >= one.at_once and one.next_allowed_at <= last.now.unix]
        if not slow:
            return f"{rate}; {waiting}"
    return f"{counted(last.fetching, 'download')} at a time; {waiting}"


def paused(lanes: Sequence[LaneLook], now: Moment) -> str | None:
    """The line on lanes that all rest; None when one does not, or there is none."""
    if not lanes or any(lane.paused_until <= now.unix for lane in lanes):
        return None
    first = min(lanes, key=lambda lane: lane.paused_until)
    until = time.strftime("%H:%M", time.localtime(first.paused_until))
    others = f" and {len(lanes) - 1} more" if len(lanes) > 1 else ""
    return f"{first.name}{others} paused until {until}: {PAUSES.get(first.reason, first.reason)}"


def why_nothing_goes_on(
    last: Look, quiet: float, unanswered: str, usual: float | None = None, usual_fetch: float | None = None
) -> str:
    """Why there was no progress for `quiet` seconds; empty while that is not long. `unanswered`: what the last
    connection that failed was told. `usual`: seconds that a clip takes to process, `usual_fetch` that a video takes to
    come, where they are known."""
    wanted = [lane for lane in last.lanes if lane.waiting or lane.in_flight or (last.later and lane.is_unreached)]
    unreached = [lane for lane in wanted if lane.is_unreached]
    if unreached and len(unreached) == len(wanted) and not last.processing and quiet > QUIET / 2:
        return cannot_be_reached(unreached[0].source, unanswered)
    if quiet < QUIET:
        return ""
    if last.cache is not None and last.cache.short:
        return last.cache.short
    if last.processing:
        return _why_no_clip_ends(last, usual)
    if last.waiting:
        return _waiting_for(last)
    if (pause := paused(wanted, last.now)) is not None:
        return pause
    return _why_none_comes(last, wanted, usual_fetch)


def _waiting_for(last: Look) -> str:
    lacks = last.lacks or "a core or a GPU: the cluster has none now"
    return f"{counted(last.waiting, 'clip')} waiting for {lacks}"


def _why_no_clip_ends(last: Look, usual: float | None) -> str:
    """Why no clip comes out, while some are at work; empty while they take no longer than usual."""
    oldest = last.oldest.get("process", Work("process", "", 0.0))
    if last.unplaced >= last.processing:  # some may be at work, and others' work wait: Ray tells no more
        sent = f"{oldest.name} was sent {duration(oldest.seconds)} ago"
        return f"{counted(last.processing, 'clip')} at the cluster, none of whose cores is free; {sent}"
    if oldest.seconds < QUIET or (usual is not None and oldest.seconds < TIMES_USUAL * usual):
        return ""  # that is what a clip takes
    known = "none has ended yet" if usual is None else f"usually {precise_duration(usual)}"
    most = f"; decoding is given up after {duration(last.time_limit)} (--clip-time-limit)" if last.time_limit else ""
    at_work = counted(last.processing, "clip")
    return f"{at_work} at work, {oldest.name} for {duration(oldest.seconds)}, {known}{most}"


def _why_none_comes(last: Look, wanted: Sequence[LaneLook], usual: float | None) -> str:
    """Why nothing comes from the sources, or goes to the dataset."""
    if last.fetching:
        oldest = last.oldest.get("fetch")
        if oldest is not None and usual is not None and oldest.seconds < TIMES_USUAL * usual:
            return ""  # that is what a video takes
        asked = f"{counted(last.fetching, 'download')} under way{_the_longest(last, 'fetch')}"
        youtube = any(lane.source == "youtube" for lane in wanted)
        return asked + ("; `doctor --canary` says whether YouTube answers" if youtube else "")
    if last.writing:
        trouble = f"; {last.store_trouble}" if last.store_trouble else ""
        return f"{counted(last.writing, 'shard')} being written{_the_longest(last, 'write')}{trouble}"
    if any(lane.interval and lane.next_allowed_at > last.now.unix for lane in wanted):
        return ""  # it waits for its turn, as --rate says
    return limiting([last], {})[1] if last.later or last.wanted else ""


def cannot_be_reached(source: str, unanswered: str) -> str:
    """The line for a source from which no connection gets an answer."""
    name, more = ("YouTube", "; `doctor --canary` says more") if source == "youtube" else (source, "")
    return f"{name} cannot be reached from here: {unanswered or 'nobody answered'}{more}"


def per_hour(counts: Sequence[tuple[float, int]]) -> float:
    """The rate between the first and the last of (monotonic seconds, count)."""
    if len(counts) < 2 or counts[-1][0] <= counts[0][0]:
        return 0.0
    return max(0.0, 3600 * (counts[-1][1] - counts[0][1]) / (counts[-1][0] - counts[0][0]))


def _the_longest(last: Look, stage: str) -> str:
    work = last.oldest.get(stage)
    return "" if work is None else f", {work.name} for {duration(work.seconds)}"
