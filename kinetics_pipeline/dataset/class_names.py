"""Classes that are chosen by name, of those that a dataset has."""

from __future__ import annotations

from collections.abc import Iterable

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.plan import require_among


def require_among_classes(dataset: Dataset, chosen: Iterable[str]) -> None:
    """Raises UserError that names the first of the classes asked for that there is not, and what there is."""
    require_among("class", chosen, dataset.classes, dataset.store.uri)
