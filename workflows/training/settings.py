"""What a training session is told: the flags, and what the driver found out about dataset and run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.models.layers.batch_norm import MOMENTUM
from kinetics_pipeline.models.training.recipes import (
    CLIPS_PER_STEP,
    TrainingRecipe,
    evaluation_spacing,
    patience_of,
    training_recipe,
)
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.training.run_folder import RunFolder

CHANNELS: dict[Stream, tuple[int, ...]] = {"rgb": (3,), "flow": (2,), "both": (3, 2)}
BOTH = frozenset({"two_stream", "fused_two_stream"})
WINDOW = 10
"""The running statistics of batch norm should come from the last tenth of the steps of a short run."""


@dataclass(frozen=True)
class Settings:
    """Plain data: it is pickled to the workers."""

    config: TrainConfig
    uri: str
    """The dataset."""
    classes: tuple[str, ...]
    """The network's classes, in order."""
    recipe: dict[str, Any]
    """The dataset's, as JSON."""
    fingerprint: dict[str, str]
    run: RunFolder
    token: str
    """Names this attempt: a worker that finds another token in the run folder has been superseded, and stops."""
    auto_loaders: int = 1
    """What `--loaders auto` comes to where this attempt runs."""

    @property
    def loaders(self) -> int:
        """Loading processes of each worker."""
        return self.auto_loaders if self.config.loaders == "auto" else self.config.loaders

    @property
    def stream(self) -> Stream:
        """What is read: both streams for the networks that take two, whatever `--stream` says."""
        return "both" if self.config.model in BOTH else self.config.stream

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of each of the network's inputs."""
        return CHANNELS[self.stream]

    @property
    def clips_per_step(self) -> int:
        """The same for every number of workers that a run goes on with."""
        return self.config.batch_size * self.config.accumulate * self.config.workers

    def training_recipe(self) -> TrainingRecipe:
        """The preset carried over to this batch and this number of steps, with what the flags say otherwise.

        Raises UserError for numbers that cannot be.
        """
        config, clips = self.config, self.clips_per_step
        scale = clips / CLIPS_PER_STEP if config.scale_learning_rate else 1.0
        with as_user_errors():
            preset = training_recipe(config.recipe, config.stream, clips_per_step=CLIPS_PER_STEP)
            rate = config.learning_rate if config.learning_rate is not None else preset.learning_rate
            recipe = training_recipe(
                config.recipe,
                config.stream,
                clips_per_step=clips,
                steps=config.steps,
                learning_rate=rate * scale,
                warmup_steps=config.warmup,
            )
        every = self._spacing(recipe)
        return replace(recipe, dropout=config.dropout, patience=patience_of(recipe.steps // every) if every else 1)

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations; 0: never."""
        return self._spacing(self.training_recipe())

    @property
    def evaluated(self) -> str:
        """What is evaluated during training, in words."""
        return "held out" if self.config.hold_out else self.config.val_split

    def _spacing(self, recipe: TrainingRecipe) -> int:
        asked = self.config.evaluate_every
        return evaluation_spacing(recipe) if asked is None else asked

    def batch_norm_momentum(self, steps: int) -> float:
        """The share that a step replaces: the released 0.001 needs thousands of steps to forget the beginning."""
        if self.config.batch_norm_momentum is not None:
            return self.config.batch_norm_momentum
        return min(0.1, max(MOMENTUM, WINDOW / steps))

    def model_options(self, steps: int) -> dict[str, Any]:
        """Keyword arguments of `build_model`."""
        options: dict[str, Any] = {
            "num_classes": len(self.classes),
            "in_channels": self.channels[0],
            "dropout": self.config.dropout,
            "bn_momentum": self.batch_norm_momentum(steps),
        }
        if self.config.model == "c3d":
            options["crop_size"] = self.config.crop
        if self.config.bn_eps is not None:
            options["bn_eps"] = self.config.bn_eps
        if self.config.checkpoint_activations:
            options["checkpoint_activations"] = True
        return options

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says it was made from."""
        return {
            "stream": self.stream,
            "classes": list(self.classes),
            "frames": self.config.frames,
            "stride": self.config.stride,
            "crop": self.config.crop,
            "dataset": self.uri,
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
        }
