"""Accuracy by group of classes, as the Kinetics paper groups them: person, person-person, person-object."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kinetics_pipeline.annotations.files import read_text
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models.scoring.evaluation import Predictions
from kinetics_pipeline.models.scoring.metrics import ranks
from kinetics_pipeline.redaction import counted


def read_groups(file: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    """Classes by group, from rows of class and group. A class may be in several groups, or in none.

    Raises UserError for a row of another length, and where no class of the network is in any group.
    """
    groups: dict[str, list[str]] = {}
    rows = list(csv.reader(read_text(file, "--groups file").splitlines()))
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            raise UserError(
                f"--groups file {file}: line {number} has {counted(len(cells), 'cell')}; allowed: class,group"
            )
        name, group = cells
        if name in classes and name not in groups.setdefault(group, []):
            groups[group].append(name)
    groups = {group: names for group, names in groups.items() if names}
    if not groups:
        raise UserError(f"--groups file {file} names none of the {len(classes)} classes of the network")
    return groups


def group_scores(
    predictions: Predictions, classes: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """The classes, clips and accuracies (among all classes) of each group; null where it has no clip."""
    where = ranks(predictions)
    found = {}
    for group, names in groups.items():
        numbers = [classes.index(name) for name in names]
        mine = where[np.isin(predictions.labels, numbers)]
        shares = {f"top{k}": float((mine < k).mean()) if len(mine) else None for k in (1, 5)}
        found[group] = {"classes": len(names), "clips": len(mine), **shares}
    return found


def groups_table(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """A row a group, a column of top-1 a stream."""
    table = Table(box=None, pad_edge=False)
    table.add_column("group")
    for column in ("classes", "clips", *(f"{stream} top-1" for stream in scores)):
        table.add_column(column, justify="right")
    first = next(iter(scores.values()))
    for group, score in first.items():
        accuracies = [scores[stream][group]["top1"] for stream in scores]
        shown = ["-" if value is None else f"{value:.1%}" for value in accuracies]
        table.add_row(group, str(score["classes"]), str(score["clips"]), *shown)
    return table
