"""Streams that were trained: a run folder or a checkpoint file, what it was trained on, and its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models import Checkpoint, read_checkpoint
from kinetics_pipeline.models.weights.folders import is_weights_folder, weights_file
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.training.run_folder import RunFolder

ONLY_STORAGE = frozenset({"layout", "chunk_length", "flow_backend", "crf", "encoder"})
"""Fields of a recipe that do not change what a network sees: backends agree to some thousandths of a pixel."""


@dataclass(frozen=True)
class Trained:
    """A checkpoint and what its metadata says."""

    path: Path
    sha256: str
    checkpoint: Checkpoint
    stream: str
    classes: list[str]
    recipe: Recipe
    fingerprint: dict[str, str]
    crop: int
    frames: int
    """How many frames a training snippet had."""
    stride: int = 1
    """It had every so many-th frame of its clip."""

    def network(self) -> nn.Module:
        with as_user_errors():
            return self.checkpoint.build().eval()

    def require_recipe(self, recipe: Recipe, where: str) -> None:
        """Raises UserError that names the first field in which the shards at `where` differ from those trained on."""
        for f in fields(Recipe):
            mine, theirs = getattr(self.recipe, f.name), getattr(recipe, f.name)
            of_the_other = f.name.startswith("flow" if self.stream == "rgb" else "rgb")
            if mine != theirs and f.name not in ONLY_STORAGE and not of_the_other:
                raise UserError(
                    f"{self.path} was trained on clips with {f.name} {mine}, {where} has {theirs}; "
                    "with --any-recipe it is scored all the same"
                )

    def require_classes(self, classes: Sequence[str], where: str) -> None:
        """Raises UserError that names the first class of the network that is none at `where`."""
        known = set(classes)
        for name in self.classes:
            if name not in known:
                raise UserError(f"{self.path} knows the class {name!r}, which is none of the {len(known)} of {where}")


def open_trained(path: Path, stream: str, *, bn_eps: float | None = None) -> Trained:
    """The stream at `path`: a run folder (its best checkpoint, else its last), a checkpoint of ours, or
    a folder of safetensors of ours; with another eps of batch normalisation, where `bn_eps` is given.

    Raises UserError when there is none, when it is of another stream, or does not say what it was trained on.
    """
    flag = f"--{stream}"
    file = path
    if path.is_dir():
        run = RunFolder(path)
        file = next((c for c in (run.best, run.last) if c.is_file()), path)
        if file is path and not is_weights_folder(path):
            raise UserError(f"{flag} is {path}, a folder without checkpoints; allowed: a run folder or a checkpoint")
    elif not path.is_file():
        raise UserError(f"{flag} is {path}, which is not there; allowed: a run folder or a checkpoint")
    with as_user_errors():
        checkpoint = read_checkpoint(file)
    if bn_eps is not None:
        checkpoint = replace(checkpoint, config=checkpoint.config | {"bn_eps": bn_eps})
    metadata: dict[str, Any] = checkpoint.metadata
    try:
        trained = Trained(
            path=file,
            sha256=sha256_of(weights_file(file)),
            checkpoint=checkpoint,
            stream=metadata["stream"],
            classes=[str(name) for name in metadata["classes"]],
            recipe=Recipe.from_json(metadata["recipe"]),
            fingerprint=dict(metadata["fingerprint"]),
            crop=int(metadata["crop"]),
            frames=int(metadata["frames"]),
            stride=int(metadata.get("stride", 1)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{flag} is {file}, which does not say what it was trained on (no {error})") from error
    if trained.stream != stream:
        raise UserError(f"{flag} is {file}, which was trained on {trained.stream}; give it as --{trained.stream}")
    return trained
