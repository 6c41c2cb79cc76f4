"""A training run as a picture: loss and accuracy over the steps, and which class is taken for which."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted, visible

SUFFIXES = (".png", ".svg", ".pdf")
MOST_NAMED = 30
"""Classes whose names fit beside a matrix."""
NAME_WIDTH = 24
"""Letters on a line of a class's name."""
MOST_MATRICES = 3
"""Networks of an evaluation that are drawn: rgb, flow and fused."""
TRAINING, VALIDATION = "#1f6fb2", "#b3402a"


def require_run_picture(path: Path) -> None:
    """Raises UserError for a path that no such picture can be written to; call it before the work."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--picture is {path}; allowed: a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    if not path.parent.is_dir():
        raise UserError(f"--picture is {path}, which cannot be written: there is no folder {path.parent}")


def draw_run(facts: Mapping[str, Any], path: Path) -> None:
    """Writes the picture of what `run_facts` says of a run. Raises UserError where it cannot be written."""
    networks = _networks(facts)
    columns = max(2, len(networks))
    heights = [4.4, 7.2] if networks else [4.4]
    # Names of classes and runs are text of others: a dollar sign in them begins no formula.
    with mpl.rc_context({"text.parse_math": False, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(6.5 * columns, sum(heights)), layout="constrained")
        figure.suptitle(_title(facts), fontsize=12)
        above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        loss, accuracy = above.subplots(1, 2)
        _curves(loss, facts, 1, "Loss")
        _curves(accuracy, facts, 2, "Accuracy")
        for part in below:
            for axes, network in zip(part.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
                _matrix(axes, *network)
        try:
            figure.savefig(path, dpi=110)
        except OSError as error:
            raise UserError(f"--picture is {path}, which cannot be written: {error.strerror}") from None


def _title(facts: Mapping[str, Any]) -> str:
    parts = (facts["name"], facts["model"], facts["stream"], counted(facts["steps"], "step"))
    return visible(", ".join(part for part in parts if part))


def _networks(facts: Mapping[str, Any]) -> list[tuple[str, Sequence[str], Mapping[str, Any]]]:
    """Title, classes and score of each network of the newest evaluation that has a confusion."""
    for result in facts["results"]:
        if known := [score for score in result["scores"] if score["cells"]]:
            return [
                (f"{result['name']}: {score['stream']}, {counted(score['clips'], 'clip')}", result["classes"], score)
                for score in known[:MOST_MATRICES]
            ]
    return []


def _curves(axes: Axes, facts: Mapping[str, Any], value: int, name: str) -> None:
    """`value`: the place of what is drawn in a point [step, loss, score]."""
    for points, label, colour, marker in (
        (facts["training"], "training", TRAINING, None),
        (facts["validation"], "evaluation", VALIDATION, "o"),
    ):
        known = [(point[0], point[value]) for point in points if point[value] is not None]
        if known:
            alone = "o" if len(known) == 1 else marker
            axes.plot(*zip(*known, strict=True), color=colour, marker=alone, markersize=4, linewidth=1.4, label=label)
    axes.set_title(name)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#d5dade")
    if value == 2:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if axes.lines:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)


def _matrix(axes: Axes, title: str, classes: Sequence[str], score: Mapping[str, Any]) -> None:
    side = len(classes)
    counts = np.zeros((side, side))
    for true, said, clips in score["cells"]:
        counts[true, said] = clips
    shares = counts / np.maximum(np.array(score["asked"])[:, None], 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(visible(title), fontsize=10)
    axes.set_xlabel("what it is taken for")
    axes.set_ylabel("true class")
    if side <= MOST_NAMED:
        names = [_lines(visible(name)) for name in classes]
        axes.set_xticks(range(side), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(side), names, fontsize=8)
    if side <= MOST_NAMED // 2:
        for true, said in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[true, said] > 0.5 else "black"
            axes.text(said, true, f"{counts[true, said]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.6, fraction=0.05)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("share of the true class")


def _lines(name: str) -> str:
    """A name on two lines where it is long, and cut where it is longer than those."""
    return fill(name, NAME_WIDTH, max_lines=2, placeholder=" ...")
