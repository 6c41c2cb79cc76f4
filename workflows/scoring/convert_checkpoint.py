"""`tools convert-checkpoint`: weights of any origin as one of our files, as safetensors, or as a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kinetics_pipeline.annotations.table import read_labels
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models import save_checkpoint
from kinetics_pipeline.models.weights.conversion import as_checkpoint
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.flags.values import require_epsilon
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors

STREAMS = {3: "rgb", 2: "flow"}
SUFFIXES = (".pt", ".safetensors", "")


def convert_checkpoint(source: Path, target: Path, labels: Path | None, bn_eps: float | None = None) -> None:
    """Writes `target` and says what `source` was. Raises UserError for what cannot be read, or does not fit."""
    if target.suffix not in SUFFIXES:
        allowed = " or ".join(suffix for suffix in SUFFIXES if suffix)
        raise UserError(f"TARGET is {target}; allowed: a name that ends in {allowed}, or a folder, without a suffix")
    if source.resolve() == target.resolve():
        raise UserError(f"TARGET is {target}, which is SOURCE; give another name")
    require_epsilon(bn_eps)
    with as_user_errors():
        kind, checkpoint = as_checkpoint(source, bn_eps=bn_eps)
        metadata = _metadata(checkpoint.config, labels) if kind != "own" else _classes(checkpoint.config, labels)
        checkpoint.metadata.update(metadata)
        try:
            save_checkpoint(checkpoint, target)
        except OSError as error:
            raise UserError(f"TARGET is {target}, which cannot be written: {error.strerror}") from error
    config = checkpoint.config
    sizes = f"{counted(config['num_classes'], 'class')}, {counted(config['in_channels'], 'channel')}"
    print(f"{source} ({kind}): {checkpoint.model}, {sizes}")
    for note in kind.notes:
        print(note)
    print(f"written to {target}")
    if "classes" not in checkpoint.metadata:
        print("its classes have no names: `evaluate` and `predict` need them, so convert it with --labels FILE")


def _metadata(config: dict[str, Any], labels: Path | None) -> dict[str, Any]:
    """The metadata that a run of ours would have written: foreign networks were trained on 64 frames of 224 pixels
    (C3D: its own size), made by the recipe that is the default here."""
    stream = STREAMS.get(config["in_channels"])
    known = {"stream": stream} if stream else {}
    made = {"frames": 64, "crop": config.get("crop_size", 224), "recipe": Recipe().to_json(), "fingerprint": {}}
    return known | made | _classes(config, labels)


def _classes(config: dict[str, Any], labels: Path | None) -> dict[str, Any]:
    if labels is None:
        return {}
    names = read_labels(labels)
    if len(names) != config["num_classes"]:
        raise UserError(
            f"--labels is {labels}, which has {counted(len(names), 'class')}; the network has {config['num_classes']}"
        )
    return {"classes": names}
