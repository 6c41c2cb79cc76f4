"""A `ClipDataset` in a few words: on a terminal a line, in a notebook a table of its classes."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import pyarrow as pa

from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted, html_table, visible

MOST_CLASSES = 12
"""Classes listed in a notebook, those of most clips."""


class Clips(Protocol):
    """What is shown of a `ClipDataset`; its docstring says what each is."""

    uri: str
    split: str | None
    stream: Stream
    frames: int | None
    stride: int
    crop: int | None
    recipe: Recipe
    classes: list[str]
    index: pa.Table

    def __len__(self) -> int: ...


def text(clips: Clips) -> str:
    """One line: how many clips of what, and what a sample is."""
    split = "" if clips.split is None else f" of {clips.split}"
    frames = "all frames" if clips.frames is None else counted(clips.frames, "frame")
    stride = "" if clips.stride == 1 else f", every {clips.stride}th,"
    size = f"of {clips.recipe.short_side} px (short side)" if clips.crop is None else f"of {clips.crop}x{clips.crop} px"
    known = sum(count > 0 for count in _counts(clips).values())
    several = "" if len(clips) == len(clips.index) else f", {counted(len(clips), 'sample')}"
    return visible(
        f"ClipDataset({clips.uri!r}): {counted(len(clips.index), 'clip')}{split}, {counted(known, 'class')}{several}; "
        f"{clips.stream}, {frames}{stride} {size} at {clips.recipe.fps:g} fps"
    )


def html(clips: Clips) -> str:
    """The line, and the clips of each class."""
    counts = _counts(clips)
    rows: list[tuple[int | str, str, int]] = [
        (clips.classes.index(label) if label in clips.classes else "", label, n)
        for label, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    more: list[tuple[int | str, str, int]] = [
        (
            "",
            f"and {counted(len(rows) - MOST_CLASSES, 'class more', 'classes more')}",
            sum(n for *_, n in rows[MOST_CLASSES:]),
        )
    ]
    return html_table(
        text(clips), rows[:MOST_CLASSES] + (more if len(rows) > MOST_CLASSES else []), ("number", "class", "clips")
    )


def _counts(clips: Clips) -> Counter[str]:
    return Counter(label or "no label" for label in clips.index["label"].to_pylist())
