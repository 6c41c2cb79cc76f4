"""Keeps a page small whatever is told: long texts are cut, and of long lists only the first rows are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kinetics_pipeline.redaction import visible

LARGEST = 15_000_000
"""Bytes of a page."""
MOST_ROWS = (20_000, 4_000, 800, 160, 0)
"""Rows of a table, tried in turn until the page is small enough; with none, runs are left out too."""
LONGEST_TEXT = 500


def shortened(value: Any) -> Any:
    """The value with every text in it as it may be shown: not too long, and without a character that turns the
    direction of what follows."""
    if isinstance(value, str):
        return visible(value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "...")
    if isinstance(value, Mapping):
        return {shortened(str(key)): shortened(one) for key, one in value.items()}
    return [shortened(one) for one in value] if isinstance(value, list | tuple) else value


def first_rows(facts: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The facts with at most so many classes, failures, shards and cells of a confusion; of shards those with a fault
    come first. `left_out` has how many of each are not there."""
    shards = facts["shard_list"]
    if len(shards) > most:
        shards = sorted(shards, key=lambda shard: not shard["fault"])
    lists: dict[str, Sequence[Any]] = {"classes": facts["classes"], "failures": facts["failures"], "shard_list": shards}
    cut = {name: list(rows[:most]) for name, rows in lists.items()}
    runs = [_run(run, most) for run in facts["runs"]] if most else []
    left_out = {name: len(lists[name]) - len(rows) for name, rows in cut.items()}
    return {**facts, **cut, "runs": runs, "left_out": left_out | {"runs": len(facts["runs"]) - len(runs)}}


def _run(run: Mapping[str, Any], most: int) -> dict[str, Any]:
    return {**run, "results": [{**one, "scores": [_score(s, most) for s in one["scores"]]} for one in run["results"]]}


def _score(score: Mapping[str, Any], most: int) -> dict[str, Any]:
    cells = score["cells"][:most]
    return {**score, "cells": cells, "more_cells": score["more_cells"] + len(score["cells"]) - len(cells)}
