"""A network as a folder, as Hugging Face's libraries keep them: `model.safetensors` (or an index and its parts), and
`config.json`, which says what it is. Ours says network, options, classes, and the dataset's recipe and fingerprint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.weights.parts import read_parts
from kinetics_pipeline.models.weights.safetensors_files import read_safetensors
from kinetics_pipeline.models.weights.torch_files import write_whole

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
LARGEST_CONFIG = 16 << 20
"""Bytes of a `config.json` that is read."""


def weights_file(path: Path) -> Path:
    """The file of weights in a folder of this kind, or its index; any other path itself."""
    if path.is_dir():
        return next((path / name for name in WEIGHTS if (path / name).is_file()), path)
    return path


def is_weights_folder(path: Path) -> bool:
    """Whether a folder has weights under the name that is usual for them."""
    return path.is_dir() and weights_file(path) != path


def read_folder(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name, and what `config.json` says; an empty dict without one. Raises InputError for damaged files."""
    file = weights_file(path)
    weights = read_parts(file) if file.name == WEIGHTS[1] else read_safetensors(file)[0]
    config = path / CONFIG
    if not config.is_file():
        return weights, {}
    try:
        if config.stat().st_size > LARGEST_CONFIG:
            raise ValueError("too large")
        document = json.loads(config.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{config} is damaged: it does not say what the weights are") from error
    return weights, document


def write_folder(weights: Mapping[str, Tensor], document: Mapping[str, Any], path: Path) -> None:
    """Writes both files, the config last. `document` is plain data. Raises InputError for a folder of other things, and
    OSError where it cannot be written."""
    if path.is_dir() and not is_weights_folder(path) and any(path.iterdir()):
        raise InputError(f"{path} holds other files; give a new folder")
    path.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    data = save(plain, metadata={"format": "pt"})
    write_whole(path / WEIGHTS[0], lambda file: file.write(data))
    text = json.dumps(document, indent=1, ensure_ascii=False)
    write_whole(path / CONFIG, lambda file: file.write(text.encode()))
