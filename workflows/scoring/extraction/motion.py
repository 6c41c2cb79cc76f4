"""Frames of one video and the flow between them, one after the other: decoding, then flow, each ahead of its reader.

In: a video or a clip. Out: `Frame` after `Frame`, with no more of them in memory than the queues hold.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.flow import quantised_tvl1
from kinetics_pipeline.flow.parameters import NO_MOTION, TVL1

AHEAD = 32
"""Frames that a queue holds; 0.4 MB each at 256x340, with flow."""
PAIRS = 16
"""Pairs of frames whose flow is computed at once on a CPU."""
PAIRS_ON_GPU = 64
_LOOK_EVERY = 0.2
"""Seconds between two looks whether the reader has gone."""

T = TypeVar("T")


class _End(Enum):
    OF_SOURCE = "no item follows"


@dataclass(frozen=True)
class Frame:
    """One frame: RGB uint8 [H, W, 3], and the flow to the next one as a dataset stores it, uint8 [2, H, W]."""

    rgb: NDArray[np.uint8]
    flow: NDArray[np.uint8] | None

    def stored(self, stream: str) -> NDArray[np.uint8]:
        """A stream's values, channels first: [C, H, W]."""
        if stream == "rgb":
            return self.rgb.transpose(2, 0, 1)
        assert self.flow is not None
        return self.flow


class Clocks:
    """Seconds that each stage of a video worked, without the time that it waited for others."""

    def __init__(self) -> None:
        self.seconds = {"decode": 0.0, "flow": 0.0, "network": 0.0}

    def timed(self, stage: str, call: Callable[[], T]) -> T:
        """What `call` returns; its time counts as the stage's."""
        began = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds[stage] += time.perf_counter() - began


def ahead(source: Callable[[], Iterator[T]], room: int = AHEAD) -> Iterator[T]:
    """What the iterator gives that `source` returns, computed in a thread of its own, at most `room` items ahead.

    An exception of the source is raised here. Once the reader has gone, the source is closed.
    """
    items: queue.Queue[T | _End] = queue.Queue(room)
    gone = threading.Event()

    def put(item: T | _End) -> bool:
        while not gone.is_set():
            try:
                items.put(item, timeout=_LOOK_EVERY)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        running = source()
        try:
            for item in running:
                if not put(item):
                    break
        finally:
            close = getattr(running, "close", None)
            if close is not None:
                close()
            put(_End.OF_SOURCE)

    with ThreadPoolExecutor(1, "ahead") as thread:
        ended = thread.submit(work)
        try:
            while not isinstance(item := items.get(), _End):
                yield item
            ended.result()  # raises what the source raised
        finally:
            gone.set()


def with_flow(
    frames: Iterable[NDArray[np.uint8]],
    parameters: TVL1,
    backend: str,
    clocks: Clocks,
    turn: threading.Lock,
) -> Iterator[Frame]:
    """Each frame with the flow to the next one; the last has that of the one before, or none where it is alone.

    `turn` is held while flow is computed: on a CPU flow and network take turns, each on all cores.
    """
    pairs = PAIRS_ON_GPU if backend == "cuda" else PAIRS
    waiting: list[NDArray[np.uint8]] = []
    grey: list[NDArray[np.uint8]] = []
    flow: NDArray[np.uint8] | None = None
    for frame in frames:
        waiting.append(frame)
        grey.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8))
        if len(waiting) > pairs:
            flow = _flow(grey, parameters, backend, clocks, turn)
            yield from map(Frame, waiting[:-1], flow)
            waiting, grey = waiting[-1:], grey[-1:]
    if len(waiting) > 1:
        flow = _flow(grey, parameters, backend, clocks, turn)
        yield from map(Frame, waiting[:-1], flow)
    if waiting:
        last = _still(waiting[-1]) if flow is None else flow[-1]
        yield Frame(waiting[-1], last)


def _flow(
    grey: list[NDArray[np.uint8]], parameters: TVL1, backend: str, clocks: Clocks, turn: threading.Lock
) -> NDArray[np.uint8]:
    with turn:
        stacked = np.stack(grey)
        return clocks.timed("flow", lambda: quantised_tvl1(stacked, backend, **vars(parameters)))


def _still(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.full((2, *frame.shape[:2]), NO_MOTION, np.uint8)


def timed_frames(frames: Iterable[NDArray[np.uint8]], clocks: Clocks) -> Iterator[NDArray[np.uint8]]:
    """The same frames; the time that each took counts as decoding."""
    running = iter(frames)
    while True:
        frame = clocks.timed("decode", lambda: next(running, None))
        if frame is None:
            return
        yield frame


def moving(
    frames: Iterable[NDArray[np.uint8]],
    flow: tuple[TVL1, str] | None,
    clocks: Clocks,
    turn: threading.Lock,
) -> Iterator[Frame]:
    """The frames of a video, decoded ahead, with flow (parameters and backend) computed ahead where it is asked."""
    decoded = ahead(lambda: timed_frames(frames, clocks))
    if flow is None:
        return (Frame(frame, None) for frame in decoded)
    parameters, backend = flow
    return ahead(lambda: with_flow(decoded, parameters, backend, clocks, turn))
