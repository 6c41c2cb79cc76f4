"""Schedules as one picture: a panel for trainings that are alike, the learning rate over the steps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from kinetics_pipeline.models.training.recipes import patience_of
from kinetics_pipeline.workflows.paper.experiments import Experiment, Resources
from kinetics_pipeline.workflows.paper.schedule_groups import Group
from kinetics_pipeline.workflows.paper.schedules import rates
from kinetics_pipeline.workflows.pictures.colours import Picture
from kinetics_pipeline.workflows.pictures.sheets import BAR, INK, written

PANEL, MARGIN, HEAD = (560, 190), (64, 10, 26, 12), 52
"""Pixels: width and height of a panel's plot; left, right, below and above of it; and its two lines of text."""
COLUMNS = 3
DECADES = (-5, 0)
"""Powers of ten of the learning rate from the lower to the upper edge."""
PALE, RUN = (176, 176, 176), (200, 70, 40)
Point = tuple[float, float]
Place = Callable[[Point], tuple[int, int]]
"""From step and rate to the pixel in a panel."""


def draw(groups: Sequence[Group], resources: Resources) -> Picture:
    """The picture: line, the rate as it is planned; dashes, the earliest that a plateau can make it fall; ticks, the
    evaluations; red, the rates of runs that are there."""
    panels = [_panel(group, resources) for group in groups]
    height, width = panels[0].shape[:2]
    blank = np.full((height, width, 3), 255, np.uint8)
    panels += [blank] * (-len(panels) % COLUMNS)
    rows = [np.concatenate(panels[k : k + COLUMNS], axis=1) for k in range(0, len(panels), COLUMNS)]
    head = written(
        [
            "Learning rate over steps. Blue: as planned. Grey: the earliest falls that a plateau can cause. "
            "Ticks: evaluations. Red: runs that are there.",
        ],
        rows[0].shape[1],
        0.6,
    )
    return np.concatenate([head, *rows])


def _panel(group: Group, resources: Resources) -> Picture:
    left, right, below, above = MARGIN
    wide, high = PANEL
    plot = np.full((high + below + above, wide + left + right, 3), 255, np.uint8)
    steps = group.plan.steps

    def place(point: Point) -> tuple[int, int]:
        low, top = DECADES
        share = (math.log10(max(point[1], 10.0**low)) - low) / (top - low)
        return round(left + point[0] / steps * wide), round(above + (1 - min(share, 1.0)) * high)

    _axes(plot, steps, place)
    for number in range(1, group.evaluations + 1):
        x = place((min(number * group.spacing, steps), 1.0))[0]
        cv2.line(plot, (x, above + high - 6), (x, above + high), INK, 1)
    known = rates(group.plan, group.stream)
    if group.plan.schedule.recipe == "paper":
        _staircase(plot, _earliest_falls(group), steps, place, PALE, 2)
        cv2.line(plot, place((0, known[0][1])), place((steps, known[0][1])), BAR, 3)
    else:
        _staircase(plot, known, steps, place, BAR, 3)
    for experiment in group.experiments:
        if ran := _ran(experiment, resources):
            _staircase(plot, ran, steps, place, RUN, 1)
    title = f"{group.title}, {len(group.experiments)} trainings of {steps} steps of {group.plan.clips_a_step} clips"
    names = sorted({f"{one.place} {one.protocol}" for one in group.experiments})
    text = written([title, f"{', '.join(names)}; {group.falls}"], plot.shape[1], 0.55)
    return np.concatenate([text, plot])


def _axes(plot: Picture, steps: int, place: Place) -> None:
    for power in range(DECADES[0], DECADES[1] + 1):
        start, end = place((0, 10.0**power)), place((steps, 10.0**power))
        cv2.line(plot, start, end, (228, 228, 228), 1)
        cv2.putText(plot, f"1e{power}", (14, start[1] + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    for part in range(5):
        x, y = place((steps * part / 4, 10.0 ** DECADES[0]))
        label = f"{steps * part / 4:.0f}"
        (wide, _), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        at = (min(x - wide // 2, plot.shape[1] - wide - 2), y + 18)
        cv2.putText(plot, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)


def _staircase(
    plot: Picture, points: Sequence[Point], steps: int, place: Place, colour: tuple[int, int, int], thickness: int
) -> None:
    ends = [*(step for step, _ in points[1:]), steps]
    corners = [corner for (step, rate), end in zip(points, ends, strict=True) for corner in ((step, rate), (end, rate))]
    for start, end in pairwise(corners):
        cv2.line(plot, place(start), place(end), colour, thickness, cv2.LINE_AA)


def _earliest_falls(group: Group) -> list[Point]:
    """The first evaluation sets the best loss; after each `patience` more the rate falls."""
    rate, patience = group.plan.rate, patience_of(group.evaluations)
    found: list[Point] = [(0, rate)]
    for number in range(1 + patience, group.evaluations + 1, patience):
        rate /= 10
        found.append((number * group.spacing, rate))
    return found


def _ran(experiment: Experiment, resources: Resources) -> list[Point]:
    """(step, rate) where the rate of a run that is there changed."""
    file = experiment.run(resources) / "metrics.jsonl"
    found: list[Point] = []
    if file.is_file():
        for text in file.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # the last line of a run that goes on
            if line.get("kind") == "step" and (not found or found[-1][1] != line["learning_rate"]):
                found.append((line["step"], line["learning_rate"]))
    return found
