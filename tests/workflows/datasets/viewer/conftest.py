"""A dataset with failures, hostile labels and a run, and a viewer of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.models.scoring.evaluation import Predictions
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.datasets.viewer.server import ViewerServer
from kinetics_pipeline.workflows.scoring.predictions_file import write_predictions
from tests.builders.clips import asked_clips, built
from tests.builders.viewers import COUNT, FAILED, FRAMES, HOSTILE, serving


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.builders.clips.CLASSES", ["left", "right", HOSTILE])
        frames = {clip.clip_id: FRAMES for clip in asked_clips(COUNT)}
        folder = tmp_path_factory.mktemp("viewer") / "dataset"
        yield built(folder, COUNT, ("train", "val"), Recipe(short_side=48), 16, FAILED, frames)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Predictions]:
    """A run whose network was asked for the clips of val."""
    folder = tmp_path_factory.mktemp("run")
    known = {name: record for name, record in dataset.records().items() if record.outcome == "ok"}
    ids = tuple(name for name in known if int(name[1:4]) % 2)
    labels = np.array([dataset.classes.index(known[name].label or "") for name in ids])
    logits = np.random.default_rng(3).normal(size=(len(ids), 3)).astype(np.float32) * 3
    predictions = Predictions(ids, logits, labels)
    write_predictions(folder / "evaluation-val.json", {"rgb": predictions}, dataset.classes)
    return folder, predictions


@pytest.fixture
def server(dataset: Dataset, run: tuple[Path, Predictions], tmp_path: Path) -> Iterator[ViewerServer]:
    with serving(dataset, tmp_path / "marked.txt", run[0]) as server:
        yield server
