"""The parts of `features`: stages that run ahead, memory that does not grow, lost workers. No network, no video."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from kinetics_pipeline.flow.parameters import TVL1
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.building.executor import Lost, Ref
from kinetics_pipeline.workflows.scoring.extraction import extractor as extraction
from kinetics_pipeline.workflows.scoring.extraction.driver import TRIES, meter_of, run_all
from kinetics_pipeline.workflows.scoring.extraction.motion import Clocks, ahead, with_flow
from kinetics_pipeline.workflows.scoring.extraction.outcomes import VideoOutcome
from kinetics_pipeline.workflows.scoring.extraction.presets import PRESETS, Layout, file_name
from kinetics_pipeline.workflows.scoring.extraction.videos import Item


def test_a_stage_runs_at_most_its_room_ahead_and_gives_everything_in_order():
    begun: list[int] = []

    def source() -> Iterator[int]:
        for number in range(50):
            begun.append(number)
            yield number

    found = []
    for number in ahead(source, room=3):
        assert len(begun) <= number + 1 + 3 + 2  # the queue, and one on either side of it
        found.append(number)
    assert found == list(range(50))


def test_a_stage_s_error_comes_to_the_reader_and_a_reader_that_goes_ends_the_stage():
    closed = threading.Event()

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with pytest.raises(ValueError, match="broken"):
        list(ahead(broken))
    reader = ahead(endless)
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert closed.wait(10)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 18, 40])
def test_flow_in_pieces_is_that_of_the_whole_and_the_last_frame_has_that_before_it(count):
    numbers = np.random.default_rng(0)
    frames = numbers.integers(0, 255, (count, 24, 32, 3), np.uint8)
    with_its = list(with_flow(iter(frames), TVL1(), "cpu", Clocks(), threading.Lock()))
    assert [frame.rgb.tobytes() for frame in with_its] == [frame.tobytes() for frame in frames]
    flows = np.stack([frame.flow for frame in with_its])
    if count == 1:
        assert (flows == 128).all()
        return
    from kinetics_pipeline.flow import tvl1
    from kinetics_pipeline.flow.quantised import quantise_flow

    whole = quantise_flow(tvl1(frames, "cpu"))
    np.testing.assert_array_equal(flows[:-1], whole)
    np.testing.assert_array_equal(flows[-1], whole[-1])


class StubNetwork:
    """Gives the mean of a window's first frame, so that a row tells which frames it saw."""

    stream, crop, what, device = "rgb", 16, "features", torch.device("cpu")

    def rows(self, windows: Sequence[Sequence[np.ndarray]], zeros: np.ndarray) -> np.ndarray:
        return np.array([[window[0][0, 0, 0, 0]] for window in windows], np.float32)


class StubFootage:
    """Frames whose values are their numbers, modulo 251; counts how many are alive."""

    from_dataset, fps, expected = False, 25.0, 0

    def __init__(self, count: int) -> None:
        self.count = count

    def pictures(self) -> Iterator[np.ndarray]:
        for number in range(self.count):
            yield np.full((16, 16, 3), number % 251, np.uint8)


class Sink:
    def __init__(self) -> None:
        self.rows: list[float] = []

    def add(self, rows: dict[str, np.ndarray]) -> None:
        self.rows += rows["rgb"][:, 0].tolist()

    def finish(self, times: np.ndarray, fps: float) -> None:
        assert len(times) == len(self.rows)


@pytest.mark.parametrize(("window", "step"), [(16, 4), (16, 64), (64, 64)])
def test_the_frames_that_are_kept_do_not_grow_with_the_video(window, step, monkeypatch):
    most = 0
    original = extraction._Kept.add

    def counted(kept: Any, frame: Any) -> None:
        nonlocal most
        original(kept, frame)
        most = max(most, len(kept._frames))

    monkeypatch.setattr(extraction._Kept, "add", counted)
    worker = extraction.Extractor([StubNetwork()], Layout(window=window, step=step), Recipe(), None)  # type: ignore[list-item]
    sink = Sink()
    found = worker.extract(StubFootage(6000), sink, Clocks())  # type: ignore[arg-type]
    assert found.rows == (6000 - window) // step + 1
    assert sink.rows == [first * step % 251 for first in range(found.rows)]
    assert most <= 2 * max(64, window, step) + window


class Flaky:
    """Loses each video as often as it says, one place."""

    def __init__(self, losses: dict[str, int]) -> None:
        self.losses, self.started = losses, list[str]()

    def places(self) -> int:
        return 2

    def start(self, item: Item) -> Ref:
        self.started.append(item.stem)
        return (item, len(self.started))

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        return list(refs[:1])

    def result(self, ref: Any) -> VideoOutcome | Lost:
        item, _ = ref
        if self.losses.get(item.stem, 0):
            self.losses[item.stem] -= 1
            return Lost("its worker or node died")
        return VideoOutcome.of(item, "ok")

    def progress(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


def test_a_video_whose_worker_dies_is_tried_again_and_not_for_ever():
    items = [Item(name, f"/v/{name}.mp4", size) for name, size in (("a", 3), ("b", 2), ("c", 1))]
    executor = Flaky({"b": TRIES - 1, "c": TRIES})
    kept: list[VideoOutcome] = []
    with meter_of(items) as meter:
        counts = run_all(items, executor, kept.append, meter)
    assert counts == {"ok": 2, "internal": 1}
    assert Counter(executor.started) == {"a": 1, "b": TRIES, "c": TRIES}
    assert [(one.stem, one.outcome, one.detail) for one in kept] == [("c", "internal", "its worker or node died")]


def test_activitynet_s_names_do_not_double_their_beginning():
    template = PRESETS["actionformer-anet"].files["joined"]
    assert file_name(template, "v_QOlSCBRmfWY") == file_name(template, "QOlSCBRmfWY") == "v_QOlSCBRmfWY.npy"


def test_a_video_s_name_reaches_no_terminal_raw() -> None:
    assert Item("a", "/videos/a\x1b[2J\nok.mp4", 1).shown == r"/videos/a\x1b[2J\nok.mp4"
