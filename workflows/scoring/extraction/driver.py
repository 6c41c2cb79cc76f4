"""The driver: which video is worked on where, what is lost and tried again, how far the run is.

It sees outcomes alone. What does the work is an executor: this process (`Here`), or actors on a Ray cluster
(`ray_actors.Actors`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol, cast

from kinetics_pipeline.redaction import visible
from kinetics_pipeline.workflows.building.executor import Lost, Ref
from kinetics_pipeline.workflows.runtime.progress import Meter
from kinetics_pipeline.workflows.scoring.extraction.outcomes import VideoOutcome
from kinetics_pipeline.workflows.scoring.extraction.videos import Item
from kinetics_pipeline.workflows.scoring.extraction.worker import Progress, Worker

LOOK_EVERY = 2.0
"""Seconds between two looks at how far the workers are."""
UNIT = 1e6
"""Bytes of video that the meter counts as one."""
TRIES = 3
"""How often a video is given to a worker that then dies."""


class Executor(Protocol):
    """Works on videos."""

    def places(self) -> int:
        """Videos that can be worked on at a time now; at least 1."""

    def start(self, item: Item) -> Ref: ...

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        """The `refs` that have ended; waits so many seconds for the first of them."""

    def result(self, ref: Ref) -> VideoOutcome | Lost:
        """What came of work that has ended. Raises UserError for what would befall every video."""

    def progress(self) -> list[Progress]:
        """How far the videos are that are worked on."""

    def close(self) -> None:
        """Ends all work."""


class Here:
    """Works in this process, on one video at a time."""

    def __init__(self, new_worker: Callable[[], Worker]) -> None:
        self._worker = new_worker()
        self._thread = ThreadPoolExecutor(1, "features")

    def places(self) -> int:
        return 1

    def start(self, item: Item) -> Ref:
        return cast(Ref, self._thread.submit(self._worker.work, item))

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        return list(wait(cast("Sequence[Future[VideoOutcome]]", refs), seconds, "FIRST_COMPLETED").done)

    def result(self, ref: Ref) -> VideoOutcome | Lost:
        return cast("Future[VideoOutcome]", ref).result()

    def progress(self) -> list[Progress]:
        found = self._worker.progress()
        return [] if found is None else [found]

    def close(self) -> None:
        self._worker.stop()
        self._thread.shutdown(wait=True, cancel_futures=True)


def meter_of(items: Iterable[Item]) -> Meter:
    """Progress through the bytes of all videos, with the time left."""
    return Meter(max(1, round(sum(item.weight for item in items) / UNIT)), "MB of video")


def run_all(
    items: Iterable[Item], executor: Executor, keep: Callable[[VideoOutcome], None], meter: Meter
) -> Counter[str]:
    """Works on all items, the largest first; how many had each outcome. Those that fail are said, a line each.

    `keep` writes the outcome of a video whose workers all died; the others are written by their workers.
    """
    waiting = deque(sorted(items, key=lambda item: -item.weight))
    running: dict[Hashable, Item] = {}
    tries: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    done = 0
    spent: Counter[str] = Counter()
    while waiting or running:
        while waiting and len(running) < executor.places():
            item = waiting.popleft()
            running[executor.start(item)] = item
        for ref in executor.wait(list(running), LOOK_EVERY):
            item, result = running.pop(ref), executor.result(ref)
            if isinstance(result, Lost):
                tries[item.stem] += 1
                if tries[item.stem] < TRIES:
                    waiting.appendleft(item)
                    continue
                result = VideoOutcome.of(item, "internal", result.reason)
                keep(result)
            counts[result.outcome] += 1
            done += item.weight
            spent.update(result.seconds)
            if result.outcome != "ok":
                meter.say(f"{item.shown}: {result.outcome}, {visible(result.detail)}")
        _show(meter, executor.progress(), running.values(), done, spent)
    meter.at(meter.total, "")
    return counts


def _show(meter: Meter, progress: Sequence[Progress], running: Iterable[Item], done: int, spent: Counter[str]) -> None:
    """Says how far the run is, and which stage works most."""
    sizes = {item.stem: item.weight for item in running}
    inside = sum(one.share * sizes.get(one.stem, 0) for one in progress)
    total = Counter(spent)
    for one in progress:
        total.update(one.seconds)
    note = f"limited by {total.most_common(1)[0][0]}" if total.total() > 0 else ""
    meter.at(min(meter.total, round((done + inside) / UNIT)), note)
