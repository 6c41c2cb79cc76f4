"""Reads and writes torch's files: only tensors and plain data, never a pickle that runs code."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from kinetics_pipeline.models.errors import InputError
from kinetics_pipeline.models.weights.recognition import pickled_kind

_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    AssertionError, OverflowError, MemoryError, ImportError, struct.error, zipfile.BadZipFile, zlib.error, OSError,
)  # fmt: skip
"""What torch.load raises for files that are cut short, damaged or no checkpoints at all, by where they are so."""


_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
"""The number that torch's files begin with that are no zip archive: torch.serialization.MAGIC_NUMBER."""


def read_torch_file(path: Path) -> Any:
    """The file's content, on the CPU. Raises InputError for a file that is missing or holds anything else."""
    try:
        path.open("rb").close()  # for the ordinary errors; later ones are the content's
    except OSError as error:
        raise InputError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
    try:
        _require_checksums(path)
        # The file and not its name, whose suffix torch.load would believe; warnings are of pickle protocols.
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise InputError(_why_unreadable(path, str(error))) from error


def _why_unreadable(path: Path, error: str) -> str:
    """The line for a file that torch.load refused with `error`."""
    kind = pickled_kind(path)
    if kind is not None and kind.model is None:
        return f"{path} is not a checkpoint that is read here: {kind.sentence(str(path))}"
    if _is_pickle_of_others(path):
        return (
            f"{path} is not a checkpoint: it is a pickle that torch did not write, and could run code; where you trust "
            "it, save its tensors by name with torch.save"
        )
    if "Weights only load failed" in error and "GLOBAL" in error:
        name = re.search(r"GLOBAL ([\w.]+)", error)
        what = f" ({name[1]})" if name else ""
        return (
            f"{path} holds Python objects{what} beside tensors and could run code, so it is not read; save its "
            "state_dict alone, where you trust the file"
        )
    return f"{path} is not a checkpoint, or is cut short or damaged"


def _is_pickle_of_others(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(32)
    return start[:1] == b"\x80" and _MAGIC not in start


def _require_checksums(path: Path) -> None:
    """Raises BadZipFile where a byte of the tensors is not as it was written, which torch.load does not look at."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if (name := file.testzip()) is not None:
                raise zipfile.BadZipFile(name)


def write_torch_file(document: dict[str, Any], path: Path) -> None:
    """Writes `document` whole or not at all, and durably.

    Raises:
        TypeError: something in it is neither a tensor nor plain data, and could not be read back.
    """
    _require_plain(document, "checkpoint")
    write_whole(path, lambda file: torch.save(document, file))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """A file of what `write` writes, whole or not at all, and durably; its folder is made. An OSError names `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch.save says where it was, not why
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def _require_plain(value: object, where: str) -> None:
    if value is None or isinstance(value, (bool, int, float, str, Tensor)):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(key, where)
            _require_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):  # a named tuple would not load
        for number, item in enumerate(value):
            _require_plain(item, f"{where}[{number}]")
    else:
        raise TypeError(f"{where} is {type(value).__name__}, neither a tensor nor plain data")
