"""A training state to and from a checkpoint file, so that a run goes on bit by bit as if undisturbed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.errors import InputError
from models.training.state import TrainingState, restore_state, state_to_save
from models.weights.checkpoints import Checkpoint, assign, save_checkpoint


def save_training(
    state: TrainingState,
    path: str | Path,
    *,
    model: str,
    config: dict[str, Any],
    metadata: dict[str, Any],
    loader: dict[str, Any] | None = None,
) -> None:
    """Writes all of `state`, atomically, and remembers the file as the last good one.

    `model` and `config` are what `build_model` was given; `metadata` and the `loader`'s own state are plain data.
    """
    training = {**state_to_save(state), "recipe": asdict(state.recipe), "loader": loader}
    save_checkpoint(Checkpoint(model, config, state.model.state_dict(), training, metadata), path)
    state.last_checkpoint = str(path)


def resume_training(state: TrainingState, checkpoint: Checkpoint, path: str | Path) -> dict[str, Any] | None:
    """Brings a fresh `state` to where `checkpoint` (read from `path`) was; returns the loader's state.

    Raises:
        InputError: the checkpoint holds weights alone, or of another model.
    """
    if checkpoint.training is None:
        raise InputError(f"checkpoint {path} holds weights alone, nothing to resume; start from it with --init")
    assign(state.model, checkpoint.state_dict, str(path))
    try:
        restore_state(state, checkpoint.training)
        loader: dict[str, Any] | None = checkpoint.training["loader"]
    except KeyError as error:
        raise InputError(f"checkpoint {path} has no {error.args[0]!r}: it is damaged") from error
    state.last_checkpoint = str(path)
    return loader
