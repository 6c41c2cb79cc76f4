"""Classes that are chosen by name, of those that a dataset has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.shards.catalogue import Dataset

_SHOWN = 12
"""Classes named in a line."""


def require_among_classes(dataset: Dataset, chosen: Iterable[str]) -> None:
    """Raises UserError that names the first of the classes asked for that there is not, and those that there are, or
    the likeliest where they are many."""
    for name in chosen:
        if name not in dataset.classes:
            number = len(dataset.classes)
            alike = dataset.classes if number <= _SHOWN else difflib.get_close_matches(name, dataset.classes)
            among = f": {', '.join(alike)}{', ...' if len(alike) < number else ''}" if alike else ""
            raise UserError(f"class {name!r} is none of the {number} of {dataset.store.uri}{among}")
