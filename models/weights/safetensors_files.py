"""Reads and writes safetensors (github.com/huggingface/safetensors): tensors, and text that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.weights.torch_files import write_whole

SUFFIX = ".safetensors"
_KEY = "kinetics-pipeline"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object in 8 bytes, lowest first, and the object."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = file.seek(0, 2)
    except OSError:
        return False
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= max(size - 8, 100 << 20)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights by name, and what one of our own files says of itself; None in those of others. Raises InputError."""
    if not path.is_file():
        raise InputError(f"cannot read checkpoint {path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
        document = None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file, or is cut short or damaged") from error
    if document is not None and not isinstance(document, dict):
        raise InputError(f"{path} is damaged: it does not say what it is")
    return weights, document


def write_safetensors(weights: Mapping[str, Tensor], document: Mapping[str, Any], path: Path) -> None:
    """Writes both whole or not at all. `document` is plain data."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    data = save(plain, metadata={_KEY: json.dumps(document, ensure_ascii=False)})
    write_whole(path, lambda file: file.write(data))
