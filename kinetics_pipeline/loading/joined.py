"""What plans say of clips beside one label: the lists they are on (UCF-101, HMDB-51), their actions (Charades)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from kinetics_pipeline.dataset.dataset import Dataset


def joined(dataset: Dataset, column: Literal["lists", "actions"], clips: Collection[str]) -> dict[str, str]:
    """The column of those of `clips` that have it, by clip_id; what the newest plan says counts."""
    wanted, found = set(clips), {}
    for _, plan in sorted(dataset.plans().items()):
        if column in plan.table.column_names:
            for clip, value in zip(plan.clip_ids(), plan.table[column].to_pylist(), strict=True):
                if value is not None and clip in wanted:
                    found[clip] = value
    return found
