"""The folder of a training run as `train` and `evaluate` leave it, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint

CONFUSION = [[1, 0, 3], [1, 4, 0], [0, 0, 2]]


def written_run(folder: Path, dataset: Dataset, stream: str = "rgb") -> Path:
    """Three steps, an evaluation on the way and one afterwards; `stream` is what its network is called there."""
    folder.mkdir(parents=True)
    about = {"uri": dataset.store.uri, "fingerprint": fingerprint(dataset).to_json()}
    config = {"command": "train", "config": {"model": "i3d", "stream": stream}, "dataset": about}
    (folder / "config.json").write_text(json.dumps(config | {"classes": dataset.classes}))
    lines: list[dict[str, Any]] = [
        {"kind": "step", "step": step, "loss": 4.0 - step, "top1": 0.2 * step, "time": 1.79e9 + step}
        for step in (1, 2, 3)
    ]
    lines.insert(1, {"kind": "note", "step": 1, "text": "begun", "time": 1.79e9})
    lines.append({"kind": "evaluation", "step": 3, "loss": 2.5, "top1": 0.6, "top5": 1.0, "time": 1.79e9 + 4})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "st')
    score = {"clips": 11, "top1": 7 / 11, "top5": 1.0, "mean_class": 0.68, "confusion": CONFUSION}
    results = {"command": "evaluate", "config": {"split": "val"}, "dataset": about, "classes": dataset.classes}
    (folder / "evaluation-val.json").write_text(json.dumps(results | {"scores": {stream: score}}))
    return folder
