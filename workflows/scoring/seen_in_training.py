"""Whether videos that are evaluated were trained on. Versions of Kinetics share out the same videos differently: the
validation of Kinetics-400 lies largely in the training split of Kinetics-700."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.scoring.trained import Trained


def seen_in_training(streams: Iterable[Trained], dataset: Dataset, split: str) -> list[str]:
    """A line for each stream that was trained on other annotations, unless no video of `split` was among them."""
    annotations = fingerprint(dataset).annotations
    others = [one for one in streams if one.fingerprint.get("annotations", annotations) != annotations]
    said = [(one.path, _seen(one.path, dataset, split)) for one in others]
    return [f"warning: {path} was trained on other annotations: {seen}" for path, seen in said if seen]


def _seen(checkpoint: Path, dataset: Dataset, split: str) -> str:
    try:
        run: Any = json.loads((checkpoint.parent.parent / "config.json").read_bytes())
        place, trained_split = run["dataset"]["uri"], run["config"].get("train_split") or "train"
        if place == dataset.store.uri:  # it has grown since
            return ""
        trained = _videos(Dataset.open(place), trained_split)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return (
            f"whether videos of {split} were trained on is not known; of other versions of Kinetics many are (the "
            "validation of Kinetics-400 lies largely in the training split of Kinetics-700)"
        )
    evaluated = _videos(dataset, split)
    both = len(evaluated & trained)
    return f"{both} of {len(evaluated)} videos of {split} were trained on" if both else ""


def _videos(dataset: Dataset, split: str) -> set[str]:
    entries = dataset.newest(lambda marker, entry: (marker.split, entry["outcome"], entry["video_id"]))
    return {video for of_split, outcome, video in entries.values() if (of_split, outcome) == (split, "ok")}
