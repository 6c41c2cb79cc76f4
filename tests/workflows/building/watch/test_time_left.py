"""The time left: against builds that were recorded and builds that are simulated, whose end is known."""

from __future__ import annotations

import bisect
import heapq
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from kinetics_pipeline.records import Clip, Record, Spent
from kinetics_pipeline.workflows.building.events import ClipFinished, ClipTakenBack
from kinetics_pipeline.workflows.building.executor import Moment
from kinetics_pipeline.workflows.building.watch.look import Look
from kinetics_pipeline.workflows.building.watch.observer import Observer
from kinetics_pipeline.workflows.building.watch.time_left import MOST_POINTS, Made, longest_of, time_left

LOOK_EVERY = 5.0
RECORDED = Path(__file__).with_name("recorded_builds.json")
"""Real builds on two cores, some on a machine with much other work: seconds at which clips came out, and that each
took."""


@dataclass(frozen=True)
class Trace:
    """A build: (when a clip came out, seconds that it took), in order, and when all was done."""

    made: list[tuple[float, float | None]]
    ended: float
    at_once: int


@dataclass(frozen=True)
class Told:
    """What was said at a look, and what became of it."""

    is_right: bool
    width: float
    """Of the range, beside what was left."""


def told_of(trace: Trace) -> list[Told]:
    """What is told of a build by its looks."""
    told, made, number, now = [], Made(), 0, 0.0
    while (now := now + LOOK_EVERY) < trace.ended:
        while number < len(trace.made) and trace.made[number][0] <= now:
            made.add(trace.made[number][0])
            number += 1
        taken = [seconds for _, seconds in trace.made[max(0, number - 200) : number] if seconds]
        left = len(trace.made) - number
        found = time_left(made.points, now, left, at_once=trace.at_once, taken=taken) if left else None
        if found is not None:
            truth = trace.ended - now
            told.append(Told(found[1] <= truth <= found[2], (found[2] - found[1]) / truth))
    return told


def share_right(told: list[Told]) -> float:
    return sum(one.is_right for one in told) / len(told)


def test_in_builds_that_were_recorded_the_end_lies_within_the_range_at_eight_looks_of_ten() -> None:
    builds = json.loads(RECORDED.read_text()).values()
    told = [one for build in builds for one in told_of(Trace(build["made"], build["ended"], at_once=2))]
    assert len(told) > 90
    assert share_right(told) >= 0.8
    assert median(one.width for one in told) < 1.2


def machine_with_other_work(chance: random.Random, long: float) -> Callable[[float], float]:
    """Seconds -> speed: half of it while others work, for about so long each time."""
    changes, is_slow = [0.0], chance.random() < 0.5

    def speed(now: float) -> float:
        while changes[-1] <= now:
            changes.append(changes[-1] + chance.expovariate(1 / long))
        return 0.5 if (bisect.bisect(changes, now) % 2 == 0) == is_slow else 1.0

    return speed


def simulated(
    chance: random.Random, cores: int, clips: int, varied: float, speed: Callable[[float], float] = lambda now: 1.0
) -> Trace:
    """Clips of about 6 s, log-normal with this relative deviation, on cores whose processes take 4 to 15 s to start."""
    sigma = math.sqrt(math.log(1 + varied**2))
    free = [chance.uniform(4, 15) for _ in range(cores)]
    heapq.heapify(free)
    made = []
    for _ in range(clips):
        began = now = heapq.heappop(free)
        work = 6 * chance.lognormvariate(-(sigma**2) / 2, sigma)
        while work > speed(now):
            work -= speed(now)
            now += 1
        now += work / speed(now)
        heapq.heappush(free, now)
        made.append((now, now - began))
    made.sort()
    return Trace(list(made), made[-1][0] + 1, cores)


@pytest.mark.parametrize(
    ("clips", "varied", "long"),
    [
        ([20, 80], 0.05, None),
        ([20, 80, 200], 0.6, None),
        ([80], 1.2, None),
        ([12], 0.4, None),
        ([100, 300], 0.4, 150.0),
    ],
)
def test_in_simulated_builds_it_does_so_too(clips: list[int], varied: float, long: float | None) -> None:
    told = []
    for seed in range(20):
        chance = random.Random(seed)
        speed = machine_with_other_work(chance, long) if long is not None else lambda now: 1.0
        told += told_of(simulated(chance, chance.choice([2, 4, 16]), chance.choice(clips), varied, speed))

    assert share_right(told) >= 0.8
    assert median(one.width for one in told) < 2.5


def test_the_last_of_clips_at_work_is_awaited_as_long_as_residual_lives_say() -> None:
    chance = random.Random(0)
    taken = [chance.lognormvariate(1, 0.7) for _ in range(300)]
    drawn = chance.choices(taken, weights=taken, k=60_000)  # a look meets long clips more often
    residual = [chance.uniform(0, seconds) for seconds in drawn]
    longest = sorted(max(residual[place : place + 3]) for place in range(0, len(residual), 3))
    for quantile in (0.1, 0.5, 0.9):
        simulated_one = longest[round(quantile * len(longest))]
        assert longest_of(taken, 3, quantile) == pytest.approx(simulated_one, rel=0.05)


def test_however_many_clips_come_out_few_numbers_are_kept_and_they_tell_the_same() -> None:
    made, all_of_them = Made(), []
    for number in range(20 * MOST_POINTS):
        made.add(number / 7)
        all_of_them.append((number / 7, 1))
    assert len(made.points) <= MOST_POINTS
    assert sum(one for _, one in made.points) == made.count == len(all_of_them)
    now = all_of_them[-1][0]
    told = time_left(made.points, now, 5000, at_once=4)
    assert told == pytest.approx(time_left(all_of_them, now, 5000, at_once=4), rel=0.1)


def record(number: int, requests: int) -> Record:
    clip = Clip(f"v{number}_000000_000010", f"v{number}", 0.0, 10.0, "a", "train")
    return Record.of(clip, "ok", "", Spent(requests, {"flow": 1.0}), frames=250)


def test_clips_from_a_disk_say_nothing_of_how_long_those_from_a_network_take() -> None:
    observer, start = Observer(Moment(0.0, 0.0)), Moment(0.0, 0.0)
    observer.begin("00000", "clips", 120, (), start, fetched=60)
    for number in range(59):  # one a second from the disk, one in 12 s from the network
        now = Moment(float(number), float(number))
        events = [ClipFinished(record(number, 0))]
        observer.take([*events, *([ClipFinished(record(1000 + number, 1))] if number % 12 == 0 else [])], now)
        live = observer.state(Look(now, 2, processing=2))
    assert live.left == pytest.approx(55 * 12, rel=0.25)
    assert live.left_low is not None
    assert live.left_high is not None
    assert live.left_low < 55 * 12 < live.left_high


def test_clips_that_are_made_again_count_as_left() -> None:
    observer = Observer(Moment(0.0, 0.0))
    observer.begin("00000", "clips", 40, (), Moment(0.0, 0.0))
    for number in range(20):
        now = Moment(float(number), float(number))
        observer.take([ClipFinished(record(number, 0))], now)
    before = observer.state(Look(now, 1, processing=1)).left
    observer.take([ClipTakenBack(record(number, 0)) for number in range(10)], now)
    after = observer.state(Look(now, 1, processing=1)).left
    assert before is not None
    assert after is not None
    assert after > 1.5 * before
