"""Small training runs for the tests: the whole I3D, on snippets of nine frames of 32 pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig
from kinetics_pipeline.workflows.training.group import Group
from kinetics_pipeline.workflows.training.job import _settings
from kinetics_pipeline.workflows.training.run_folder import Ending, RunFolder
from kinetics_pipeline.workflows.training.session import run_session
from kinetics_pipeline.workflows.training.settings import Settings

SMALL: dict[str, Any] = {
    "frames": 9,
    "crop": 32,
    "batch_size": 2,
    "loaders": 0,
    "precision": "fp32",
    "evaluate_every": 0,
    "checkpoint_every": 1000,
}


def settings_of(dataset: Dataset, run: Path, **flags: Any) -> Settings:
    config = TrainConfig(run=run, **{**SMALL, **flags})
    run.mkdir(parents=True, exist_ok=True)
    return _settings(dataset, config, RunFolder(run.absolute()))


def session(settings: Settings, *, stop: bool = False) -> Ending:
    """One attempt; with `stop` it is asked to end after its first step."""
    settings.run.control(settings.token, stop=stop)
    return run_session(settings, Group(torch.device("cpu"), threads=1))


def numbers(run: Path) -> list[dict[str, Any]]:
    """The lines of steps and evaluations, without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clocked = ("time", "bound")
    return [
        {k: v for k, v in line.items() if k not in clocked and "per_second" not in k}
        for line in lines
        if line["kind"] in ("step", "evaluation")
    ]
