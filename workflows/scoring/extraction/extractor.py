"""One video through decoding, flow and networks at once, in memory that does not grow with its length.

In: an item, a layout, networks. Out: rows given to a writer as they come. Frames are decoded once and flow is computed
once, however many windows they belong to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.loading.windows import Steps, Windows, crop_corner, crop_places, window_frames
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.video.frames import Again
from kinetics_pipeline.workflows.scoring.extraction.motion import Clocks, Frame, moving
from kinetics_pipeline.workflows.scoring.extraction.network import INPUTS, Network, is_there, mirrored
from kinetics_pipeline.workflows.scoring.extraction.presets import Layout
from kinetics_pipeline.workflows.scoring.extraction.videos import Footage

WINDOW_FRAMES = 64
"""Frames of windows that are gathered before a network sees them, on a CPU."""
Rows = dict[str, NDArray[np.float32]]


class RowWriter(Protocol):
    """Takes the rows of one video."""

    def add(self, rows: Rows) -> None: ...

    def finish(self, times: NDArray[np.float64], fps: float) -> None: ...


class NoRows(Exception):
    """The video is sound, and too short for one row. The message is one line."""


class Stopped(Exception):
    """Somebody asked to stop."""


class _OtherLength(Exception):
    """The video has another length, modulo a step, than its header let expect."""


@dataclass(frozen=True)
class Extracted:
    """What one video had."""

    frames: int
    rows: int
    fps: float


class _Kept:
    """The frames that later rows still need, by number."""

    def __init__(self) -> None:
        self.count = 0
        """Frames that came so far."""
        self._frames: dict[int, Frame] = {}
        self._from = 0

    def add(self, frame: Frame) -> None:
        if self.count >= self._from:
            self._frames[self.count] = frame
        self.count += 1

    def let_go(self, before: int) -> None:
        """Forgets the frames before this number."""
        for number in range(self._from, min(before, self.count)):
            self._frames.pop(number, None)
        self._from = max(self._from, before)

    def views(self, numbers: NDArray[np.int64], network: Network, crops: int) -> list[list[NDArray[np.uint8]]]:
        """The crops of a window, each with the values of the network's streams: uint8 [C, T, crop, crop]. Frames that
        are not there have any values."""
        some = next(iter(self._frames.values()))
        frames = [self._frames[number] if number >= 0 else some for number in numbers.tolist()]
        height, width = some.rgb.shape[:2]
        found = []
        for place, flip in crop_places(crops):
            top, left = crop_corner(height, width, network.crop, place, crops)
            rows, columns = slice(top, top + network.crop), slice(left, left + network.crop)
            streams = [
                np.stack([frame.stored(name)[:, rows, columns] for frame in frames], axis=1)
                for name in INPUTS[network.stream]
            ]
            found.append([mirrored(stored) for stored in streams] if flip else streams)
        return found


class Extractor:
    """Networks on one device, and how videos are cut for them."""

    def __init__(
        self,
        networks: Sequence[Network],
        layout: Layout,
        recipe: Recipe,
        flow_backend: str | None,
        stop: threading.Event | None = None,
    ) -> None:
        """`flow_backend`: None where no network sees flow."""
        self.networks, self.layout, self.recipe = tuple(networks), layout, recipe
        self.flow = None if flow_backend is None else (recipe.flow_parameters, flow_backend)
        self._stop = stop or threading.Event()
        on_cpu = self.networks[0].device.type == "cpu"
        self._turn: Any = threading.Lock() if on_cpu else nullcontext()
        self.frames_done = 0
        """Frames of the present video that were seen so far."""

    def extract(self, footage: Footage, writer: RowWriter, clocks: Clocks, remainder: int | None = None) -> Extracted:
        """All rows of a video. Raises NoRows, Stopped, Again (the writer's rows are void), and what decoding raises.

        `remainder`: the video's length modulo a step, where it is known.
        """
        self.frames_done = 0
        with closing(self._frames(footage, clocks)) as frames:
            cutting = self.layout.cutting()
            if isinstance(cutting, Steps):
                guess = footage.expected % cutting.stride if remainder is None else remainder
                total, rows = self._steps(frames, cutting, guess, writer, clocks)
            else:
                total, rows = self._windows(frames, cutting, writer, clocks)
        writer.finish(cutting.times(rows, footage.fps), footage.fps)
        return Extracted(total, rows, footage.fps)

    def _frames(self, footage: Footage, clocks: Clocks) -> Generator[Frame, None, None]:
        if footage.from_dataset:
            yield from footage.stored()
            return
        yield from moving(footage.pictures(), self.flow, clocks, self._turn)

    def _next(self, kept: _Kept, frame: Frame) -> None:
        if self._stop.is_set():
            raise Stopped
        kept.add(frame)
        self.frames_done = kept.count

    # Windows

    def _windows(self, frames: Iterator[Frame], windows: Windows, writer: RowWriter, clocks: Clocks) -> tuple[int, int]:
        kept, waiting, row = _Kept(), list[NDArray[np.int64]](), 0
        device = self.networks[0].device.type
        at_once = max(1, (WINDOW_FRAMES if device == "cpu" else 16 * WINDOW_FRAMES) // windows.window)
        if windows.step > windows.window:  # else the frames between them would be kept
            at_once = 1

        def flush() -> None:
            if waiting:
                writer.add(self._rows(kept, waiting, clocks))
                waiting.clear()
            kept.let_go(windows.first(row))

        for frame in frames:
            self._next(kept, frame)
            while windows.needs(row) <= kept.count:
                waiting.append(windows.frames(row, kept.count))
                row += 1
                if len(waiting) == at_once:
                    flush()
        total = windows.rows(kept.count)
        if not total:
            least = windows.needs(0)
            raise NoRows(
                f"it has {counted(kept.count, 'frame')}, and a window takes {least}; --ends repeat keeps short videos"
            )
        for last in range(row, total):
            waiting.append(windows.frames(last, kept.count))
            row = last + 1
            if len(waiting) == at_once:
                flush()
        flush()
        return kept.count, total

    def _rows(self, kept: _Kept, windows: Sequence[NDArray[np.int64]], clocks: Clocks) -> Rows:
        """The rows of some windows, by stream: [N, columns], and with ten crops [N, 10, columns]."""
        crops = self.layout.crops
        zeros = np.stack([~is_there(numbers) for numbers in windows for _ in crop_places(crops)])
        found: Rows = {}
        for network in self.networks:
            views = [view for numbers in windows for view in kept.views(numbers, network, crops)]
            with self._turn:
                values = clocks.timed("network", lambda n=network, v=views: n.rows(v, zeros))  # type: ignore[misc]
            found[network.stream] = values if crops == 1 else values.reshape(len(windows), crops, *values.shape[1:])
        return found

    # Steps

    def _steps(
        self, frames: Iterator[Frame], steps: Steps, remainder: int, writer: RowWriter, clocks: Clocks
    ) -> tuple[int, int]:
        kept, pieces = _Kept(), steps.pieces(remainder)
        first, end, row, count = next(pieces)
        for frame in frames:
            self._next(kept, frame)
            if kept.count > end:
                self._piece(kept, (first, end), slice(row - first // steps.stride, None), count, writer, clocks)
                first, end, row, count = next(pieces)
                kept.let_go(first)
        total = steps.rows(kept.count)
        least = max(int(network.module.least_frames) for network in self.networks)  # type: ignore[arg-type]
        if kept.count < least:
            raise NoRows(f"it has {counted(kept.count, 'frame')}, and the network takes {least}")
        if row and kept.count % steps.stride != remainder:
            raise _OtherLength(kept.count % steps.stride)
        self._piece(kept, (first, kept.count), slice(row - first // steps.stride, None), total - row, writer, clocks)
        return kept.count, total

    def _piece(
        self, kept: _Kept, span: tuple[int, int], rows: slice, count: int, writer: RowWriter, clocks: Clocks
    ) -> None:
        """The rows of one piece: `count` of them from where `rows` begins."""
        numbers = window_frames(span[0], span[1] - span[0], span[1], 1, "repeat")
        found: Rows = {}
        for network in self.networks:
            views = []
            for view in kept.views(numbers, network, self.layout.crops):
                with self._turn:
                    views.append(clocks.timed("network", lambda n=network, v=view: n.steps(v)))  # type: ignore[misc]
            chosen = [values[rows][:count] for values in views]
            found[network.stream] = chosen[0] if self.layout.crops == 1 else np.stack(chosen, axis=1)
        writer.add(found)


def extract_whole(
    extractor: Extractor, footage: Footage, new_writer: Callable[[], Any], clocks: Clocks
) -> tuple[Extracted, list[str]]:
    """A video's rows and the names of its files, by as many passes as it takes.

    `new_writer` gives the context of a writer, whose files are there once it is left. Raises NoRows, Stopped and what
    decoding raises.
    """
    remainder: int | None = None
    while True:
        try:
            with new_writer() as writer:
                found = extractor.extract(footage, writer, clocks, remainder)
            return found, list(writer.names)
        except Again:
            continue
        except _OtherLength as other:
            remainder = int(other.args[0])
