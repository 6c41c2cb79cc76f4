"""Networks for tests of what comes after training: fresh weights, saved as a run saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.models import Checkpoint, build_model, save_checkpoint


def save_network(dataset: Dataset, stream: str, file: Path, crop: int = 32, model: str = "i3d") -> Path:
    torch.manual_seed(len(stream))
    config = {"num_classes": len(dataset.classes), "in_channels": 2 if stream == "flow" else 3}
    metadata = {
        "stream": stream,
        "classes": dataset.classes,
        "frames": 9 if model == "i3d" else 10,
        "crop": crop,
        "dataset": dataset.store.uri,
        "recipe": dataset.recipe.to_json(),
        "fingerprint": fingerprint(dataset).to_json(),
        "step": 1,
    }
    save_checkpoint(Checkpoint(model, config, build_model(model, **config).state_dict(), None, metadata), file)
    return file
