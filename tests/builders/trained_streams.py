"""Networks for tests of what comes after training: fresh weights, saved as a run saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.models import Checkpoint, build_model, save_checkpoint


def save_network(dataset: Dataset, stream: str, file: Path, crop: int = 32) -> Path:
    torch.manual_seed(len(stream))
    config = {"num_classes": len(dataset.classes), "in_channels": 3 if stream == "rgb" else 2}
    metadata = {
        "stream": stream,
        "classes": dataset.classes,
        "frames": 9,
        "crop": crop,
        "recipe": dataset.recipe.to_json(),
        "fingerprint": fingerprint(dataset).to_json(),
        "step": 1,
    }
    save_checkpoint(Checkpoint("i3d", config, build_model("i3d", **config).state_dict(), None, metadata), file)
    return file
