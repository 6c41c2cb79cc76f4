"""Trained weights for features: opened once, sent to whoever works, and what they make of frames.

In: a run folder, or weights of any origin. Out: numpy rows of features, maps or logits.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import normalise
from kinetics_pipeline.loading.transforms import mirror
from kinetics_pipeline.loading.windows import NOTHING
from kinetics_pipeline.models import Checkpoint
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.layers.inference import folded
from kinetics_pipeline.models.precision import TRIAL_SIDE, Choice, Precision, choose_precision
from kinetics_pipeline.models.registry import MODELS
from kinetics_pipeline.models.weights.conversion import as_checkpoint
from kinetics_pipeline.models.weights.folders import weights_file
from kinetics_pipeline.models.weights.tensorflow_checkpoint import checkpoint_prefix
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.training.run_folder import RunFolder

Stream = Literal["rgb", "flow", "both"]
What = Literal["features", "map", "logits"]
CHANNELS = {"rgb": 3, "flow": 2, "both": 3}
INPUTS: Mapping[Stream, tuple[str, ...]] = {"rgb": ("rgb",), "flow": ("flow",), "both": ("rgb", "flow")}
"""The streams of frames that a network is shown."""
AT_ONCE = {"cpu": 64, "cuda": 1024}
"""Frames that a network sees in one pass, if one window has no more."""


@dataclass(frozen=True)
class Weights:
    """A network's weights, and the frames that they were trained on."""

    stream: Stream
    path: Path
    sha256: str
    kind: str
    """What wrote the file: `own`, `port`, `tensorflow`."""
    checkpoint: Checkpoint
    crop: int
    recipe: Recipe
    stride: int

    @property
    def fps(self) -> float:
        """Frames a second of the clips that it was trained on."""
        return self.recipe.fps / self.stride

    def build(self) -> nn.Module:
        """The network, in evaluation mode, on the CPU."""
        with as_user_errors():
            return self.checkpoint.build().eval()


def open_weights(path: Path, stream: Stream, bn_eps: float | None = None) -> Weights:
    """A run folder (its best checkpoint, else its last), or weights that `load_checkpoint` reads. Files that do not say
    how their frames were made are taken to be trained on I3D's (`Recipe()`), 224 pixels.

    Raises UserError for what cannot be read, and for a network of another stream.
    """
    run = RunFolder(path)
    file = next((c for c in (run.best, run.last) if c.is_file()), path) if path.is_dir() else path
    with as_user_errors():
        kind, checkpoint = as_checkpoint(file, bn_eps=bn_eps)
    metadata: dict[str, Any] = checkpoint.metadata
    network: Any = MODELS[checkpoint.model]
    both = len(network.inputs) == 2
    channels = int(checkpoint.config["in_channels"])
    trained_on = (
        "both" if both else metadata.get("stream", {3: "rgb", 2: "flow"}.get(channels, counted(channels, "channel")))
    )
    if trained_on != stream or channels != CHANNELS[stream]:
        raise UserError(f"--{stream} is {file}, {checkpoint.model} of {trained_on}; give it as --{trained_on}")
    if not hasattr(network, "features"):
        raise UserError(f"--{stream} is {file}, {checkpoint.model}, which sees single frames and has no features")
    try:
        recipe = Recipe.from_json(metadata["recipe"]) if "recipe" in metadata else Recipe()
        crop = int(metadata.get("crop", 0)) or int(checkpoint.config.get("crop_size", 224))
        stride = int(metadata.get("stride", 1))
    except (TypeError, ValueError) as error:
        raise UserError(f"--{stream} is {file}, whose metadata is damaged: {error}") from error
    if crop > recipe.short_side:
        raise UserError(
            f"--{stream} is {file}, which sees {crop} pixels of frames with a short side of {recipe.short_side}"
        )
    return Weights(stream, file, _sha256(file), str(kind), checkpoint, crop, recipe, stride)


def _sha256(file: Path) -> str:
    """The digest of a file; that of all digests where a TensorFlow checkpoint has several files."""
    prefix = checkpoint_prefix(file)
    if prefix is None:
        return sha256_of(weights_file(file))
    parts = sorted(prefix.parent.glob(f"{prefix.name}.*"))
    return hashlib.sha256("".join(sha256_of(part) for part in parts).encode()).hexdigest()


def require_together(weights: Sequence[Weights]) -> Recipe:
    """The recipe to prepare frames with. Raises UserError where the networks were trained on differently made ones."""
    first = weights[0]
    for one in weights[1:]:
        for name in ("fps", "short_side", "interpolation"):
            mine, other = getattr(first.recipe, name), getattr(one.recipe, name)
            if mine != other:
                raise UserError(
                    f"{first.path} was trained on clips with {name} {mine}, {one.path} with {other}; give them apart"
                )
        if one.stride != first.stride:
            raise UserError(f"{first.path} was trained with stride {first.stride}, {one.path} with {one.stride}")
    return weights[-1].recipe  # of flow, where that is there


def least_window(weights: Sequence[Weights]) -> tuple[int, str]:
    """The least frames that all these networks can see, and the name of the one that asks for them."""
    names = {one.checkpoint.model for one in weights}
    return max((int(getattr(MODELS[name], "least_frames", 1)), name) for name in names)


class Network:
    """One network on its device, with the precision that was chosen for it."""

    def __init__(self, weights: Weights, precision: Precision, device: torch.device, what: What = "features") -> None:
        self.stream, self.crop, self.what, self.precision, self.device = (
            weights.stream,
            weights.crop,
            what,
            precision,
            device,
        )
        self.module = weights.build().to(device)
        if what == "map" and not isinstance(self.module, I3D):
            raise UserError(f"--map is given with {weights.path}, {weights.checkpoint.model}; allowed: i3d")
        precision.prepare(self.module)
        if folds(precision, device):
            folded(self.module)

    def rows(self, windows: Sequence[Sequence[NDArray[np.uint8]]], zeros: NDArray[np.bool_]) -> NDArray[np.float32]:
        """A row for each window: [N, columns], of a map [N, columns, h, w].

        windows: the values of each, uint8 [C, T, crop, crop], one for each of the network's streams, views mirrored
        already. zeros: bool [N, T], the frames that are not there.
        """
        frames = windows[0][0].shape[1]
        at_once = max(1, AT_ONCE[self.device.type] // frames)
        found = [
            self._pass(windows[first : first + at_once], zeros[first : first + at_once])
            for first in range(0, len(windows), at_once)
        ]
        return np.concatenate(found)

    @torch.inference_mode()
    def _pass(self, windows: Sequence[Sequence[NDArray[np.uint8]]], zeros: NDArray[np.bool_]) -> NDArray[np.float32]:
        inputs = self._inputs(windows, zeros)
        with self.precision.autocast(self.device):
            if self.what == "logits":
                found: Tensor = self.module(*inputs)
            elif self.what == "map":
                found = self.module.feature_map(*inputs).float().mean(dim=2)  # type: ignore[operator]
            else:
                found = self.module.features(*inputs)  # type: ignore[operator]
                if found.ndim == 3:
                    found = found.float().mean(dim=2)
        return found.float().cpu().numpy()

    @torch.inference_mode()
    def steps(self, window: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """A row for each time step of I3D: [T', columns], of a map [T', columns, h, w]."""
        assert isinstance(self.module, I3D)
        (video,) = self._inputs([window], np.zeros((1, window[0].shape[1]), bool))
        with self.precision.autocast(self.device):
            compute = {"logits": self.module.dense_logits, "map": self.module.feature_map}
            found = compute.get(self.what, self.module.features)(video)
        return found[0].float().cpu().movedim(1, 0).numpy()

    def _inputs(self, windows: Sequence[Sequence[NDArray[np.uint8]]], zeros: NDArray[np.bool_]) -> list[Tensor]:
        """float32 [N, C, T, crop, crop] of each stream, on the device."""
        inputs = []
        for number in range(len(windows[0])):
            stored = torch.from_numpy(np.stack([window[number] for window in windows])).to(self.device)
            values = normalise(stored)
            if zeros.any():
                values.movedim(1, 2)[torch.from_numpy(zeros).to(self.device)] = 0
            inputs.append(self.precision.place(values))
        return inputs


def folds(precision: Precision, device: torch.device) -> bool:
    """Whether a network computed in this way has its normalisation folded into the convolutions."""
    return device.type == "cpu" and precision.channels_last and not precision.bf16


def mirrored(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [C, T, H, W] flipped left to right; of flow with u negated."""
    return np.asarray(mirror(torch.from_numpy(stored)).numpy(), np.uint8)


def choose(weights: Sequence[Weights], choice: Choice, window: int, device: torch.device) -> list[Precision]:
    """The precision of each network, by one timed and checked pass over a window of random values."""
    chosen = []
    for one in weights:
        module = one.build().to(device)
        numbers = torch.Generator().manual_seed(0)
        sizes = [CHANNELS["flow" if name == "flow" else "rgb"] for name in INPUTS[one.stream]]
        inputs = [
            (torch.rand(1, channels, window, one.crop, one.crop, generator=numbers) * 2 - 1).to(device)
            for channels in sizes
        ]
        with as_user_errors():
            found = choose_precision(module, inputs, training=False, choice=choice)
        if choice != "bf16" and device.type == "cpu":
            found = _fastest(module, inputs, found)
        chosen.append(found)
    return chosen


@torch.inference_mode()
def _fastest(module: nn.Module, inputs: Sequence[Tensor], found: Precision) -> Precision:
    """The fastest on this CPU: what was `found` right, or 32-bit floats as they are, or with channels last."""
    plain = Precision(False, False, found.reason if not found.bf16 else "fp32: faster than bf16")
    last = Precision(False, True, f"{plain.reason}; channels last is faster")
    small = [x[..., :TRIAL_SIDE, :TRIAL_SIDE] for x in inputs]
    times: list[tuple[float, Precision]] = []
    for how in dict.fromkeys((found, plain, last)):
        trial = how.prepare(copy.deepcopy(module))
        if folds(how, inputs[0].device):
            folded(trial)
        placed = [how.place(x) for x in small]
        seconds = []
        for _ in range(3):  # the first one pays for the set-up
            began = time.perf_counter()
            with how.autocast(inputs[0].device):
                trial(*placed)
            seconds.append(time.perf_counter() - began)
        times.append((min(seconds), how))
    return min(times, key=lambda one: one[0])[1]


def is_there(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which frames of a window are frames of the video."""
    there: NDArray[np.bool_] = numbers != NOTHING
    return there


def described(weights: Weights, precision: Precision) -> dict[str, Any]:
    """What is kept of a network beside its features."""
    how = {"bf16": precision.bf16, "channels_last": precision.channels_last}
    config = {name: value for name, value in weights.checkpoint.config.items() if name != "checkpoint_activations"}
    return {
        "path": str(weights.path),
        "sha256": weights.sha256,
        "kind": weights.kind,
        "model": weights.checkpoint.model,
        "config": config,
        "crop": weights.crop,
        "precision": how,
    }
