"""Reads TensorFlow's checkpoints (index + data, "tensor bundle V2") without TensorFlow.

The index maps names to BundleEntryProto: dtype, shape, shard, offset, size, masked CRC-32C (tensorflow/core/protobuf/
tensor_bundle.proto). Variables cut into slices are refused: no released file has them.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.weights.crc32c import masked_crc32c
from kinetics_pipeline.models.weights.sstable import read_table, read_varint

_DTYPES: dict[int, Any] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 19: np.dtype("<f2")}
"""types.proto: DT_FLOAT, DT_DOUBLE, DT_HALF."""
_HEADER_KEY = b""


@dataclass(frozen=True)
class Variable:
    """The place of the values of one variable in the data files."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    sliced: bool


def checkpoint_prefix(path: Path) -> Path | None:
    """The prefix that names a checkpoint, given it, its index, graph or a data file; None for any other path."""
    prefix = path.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name))
    return prefix if prefix.with_name(prefix.name + ".index").is_file() else None


def list_variables(prefix: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every variable. Raises InputError for a damaged index."""
    return {name: variable.shape for name, variable in _read_index(prefix)[0].items()}


def read_variables(prefix: Path, wanted: Callable[[str], bool]) -> dict[str, npt.NDArray[Any]]:
    """The variables whose name is `wanted`, as arrays.

    Raises:
        InputError: a file is missing, cut short or damaged, or a variable is of no floating type.
    """
    variables, shards = _read_index(prefix)
    arrays = {}
    for name, variable in variables.items():
        if wanted(name):
            arrays[name] = _read_values(prefix, name, variable, shards)
    return arrays


def _read_index(prefix: Path) -> tuple[dict[str, Variable], int]:
    path = prefix.with_name(prefix.name + ".index")
    variables, shards = {}, 0
    try:
        for key, value in read_table(path.read_bytes()):
            if key == _HEADER_KEY:
                header = _message(value)
                if _number(header, 2):
                    raise ValueError("its numbers are big-endian")
                shards = _number(header, 1)
            else:
                variables[key.decode()] = _variable(value)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not a sound TensorFlow checkpoint: {error}") from error
    if not shards:
        raise InputError(f"{path} is not a sound TensorFlow checkpoint: it has no header")
    return variables, shards


def _read_values(prefix: Path, name: str, variable: Variable, shards: int) -> npt.NDArray[Any]:
    path = prefix.with_name(f"{prefix.name}.data-{variable.shard:05d}-of-{shards:05d}")
    dtype = _DTYPES.get(variable.dtype)
    if dtype is None or variable.sliced:
        what = "cut into slices" if variable.sliced else f"of TensorFlow's type {variable.dtype}"
        raise InputError(f"variable {name} in {prefix} is {what}; only whole floating-point ones can be read")
    if variable.size != math.prod(variable.shape) * dtype.itemsize:
        raise InputError(f"variable {name} in {prefix} has {variable.size} bytes, its shape {variable.shape} others")
    try:
        if variable.offset + variable.size > path.stat().st_size:
            raise InputError(f"{path} ends before variable {name}: it was cut short")
        with path.open("rb") as file:
            file.seek(variable.offset)
            data = file.read(variable.size)
    except OSError as error:
        raise InputError(f"cannot read {path}, which holds {name}: {error.strerror}") from error
    if masked_crc32c(data) != variable.crc:
        raise InputError(f"{path} is damaged: variable {name} has another CRC than was stored")
    return np.frombuffer(data, dtype).reshape(variable.shape).copy()


def _variable(value: bytes) -> Variable:
    entry = _message(value)
    shape = tuple(_number(_message(dim), 1) for dim in _message(_bytes(entry, 2)).get(2, []) if isinstance(dim, bytes))
    return Variable(
        dtype=_number(entry, 1),
        shape=shape,
        shard=_number(entry, 3),
        offset=_number(entry, 4),
        size=_number(entry, 5),
        crc=_number(entry, 6),
        sliced=7 in entry,
    )


def _message(data: bytes) -> dict[int, list[int | bytes]]:
    """Fields of a protocol buffer by number (protobuf.dev, "Encoding"). Raises ValueError."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | bytes
        if wire == 0:
            value, at = read_varint(data, at)
        elif wire == 2:
            length, at = read_varint(data, at)
            value, at = data[at : at + length], at + length
        elif wire == 5:
            value, at = struct.unpack("<I", data[at : at + 4].ljust(4, b"\0"))[0], at + 4
        elif wire == 1:
            value, at = struct.unpack("<Q", data[at : at + 8].ljust(8, b"\0"))[0], at + 8
        else:
            raise ValueError(f"a field is of a kind unknown here ({wire})")
        if at > len(data):
            raise ValueError("a field runs past its message")
        fields.setdefault(number, []).append(value)
    return fields


def _number(fields: dict[int, list[int | bytes]], number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is not a number")
    return value


def _bytes(fields: dict[int, list[int | bytes]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is a number instead of a message")
    return value
