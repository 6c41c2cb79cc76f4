"""Weights in several files, as Hugging Face's libraries save large ones: an index says which file holds which tensor.

The index is JSON, `{"weight_map": {tensor: file}}` (huggingface.co/docs/transformers, "Sharded checkpoints"), and its
name ends with `.safetensors.index.json` or `.bin.index.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.weights.safetensors_files import is_safetensors, read_safetensors
from kinetics_pipeline.models.weights.torch_files import read_torch_file

INDEX = (".safetensors.index.json", ".bin.index.json")


def read_parts(index: Path) -> dict[str, Tensor]:
    """All tensors that the index names.

    Raises InputError for an index that cannot be read, a file that is not beside it or is damaged, and a tensor that is
    not in its file.
    """
    try:
        names = json.loads(index.read_bytes())["weight_map"]
        files = sorted(set(names.values()))
    except OSError as error:
        raise InputError(f"cannot read checkpoint {index}: {error.strerror}") from error
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InputError(f"{index} is not an index of weights: it does not say which file holds which tensor") from None
    weights: dict[str, Tensor] = {}
    for file in files:
        if not isinstance(file, str) or Path(file).name != file:
            raise InputError(f"{index} names {file!r}; allowed: a file beside it")
        part = index.with_name(file)
        held = read_safetensors(part)[0] if is_safetensors(part) else read_torch_file(part)
        wanted = [name for name, where in names.items() if where == file]
        for name in wanted:
            if not isinstance(held, dict) or not isinstance(held.get(name), Tensor):
                raise InputError(f"{part} is damaged: it lacks {name}, which {index.name} says it holds")
        weights |= {name: held[name] for name in wanted}
    return weights
