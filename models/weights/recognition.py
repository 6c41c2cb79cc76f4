"""Says what a file is, by the first row of `kinds.KINDS` that matches; nothing in the file is executed."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from kinetics_pipeline.models.weights.kinds import KINDS, Kind

LOOKED_AT = 512
"""Bytes of a file's beginning: a tar archive says what it is at byte 257."""
MOST_PICKLED = 64 << 20
"""Bytes of a pickle that are searched for names."""
SPACES = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a text; the last three are UTF-8's byte order mark."""


def file_kind(path: Path) -> str | None:
    """What a file or folder that holds no tensors is, and what fits; None for what begins like a checkpoint, and for
    bytes that are not known."""
    if path.is_dir():
        return _folder_kind(path)
    if path.exists() and not path.is_file():
        return "it is a pipe or a device; give a file"
    for kind in KINDS:
        if kind.file_name and re.search(kind.file_name, path.name) and path.exists():
            return kind.sentence(str(path))
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT)
    except OSError:
        return None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = archive.namelist()
        torch_file = any(name.endswith("data.pkl") for name in inside)
        for kind in KINDS:
            if kind.members and not kind.folder and _all_found(kind.members, inside):
                program = "program" in kind.what
                if program or not torch_file:
                    return kind.sentence(str(path))
        return None
    kinds = [kind for kind in KINDS if _begins_as(start, kind)]
    kinds += [kind for kind in KINDS if path.suffix in kind.suffixes]
    return kinds[0].sentence(str(path)) if kinds and start else None


def _begins_as(start: bytes, kind: Kind) -> bool:
    text = start[kind.at :].lower()
    return bool(kind.begins) and (text if kind.at else text.lstrip(SPACES)).startswith(kind.begins)


def _folder_kind(path: Path) -> str | None:
    try:
        inside = sorted(entry.name for entry in path.iterdir())
        inside += sorted(entry.name for entry in (path / "checkpoints").glob("*.pt"))
    except OSError:
        return None
    for kind in KINDS:
        if kind.folder and _all_found(kind.members, inside):
            found = next((name for name in inside if kind.members and re.search(kind.members[0], name)), "")
            return kind.sentence(str(path), found.removesuffix(".index"))
    return None


def tensors_kind(shapes: Mapping[str, tuple[int, ...] | None]) -> Kind | None:
    """The row for tensors of these names and shapes (None: not known)."""
    for kind in KINDS:
        if not kind.names:
            continue
        first = next((name for name in shapes if re.match(kind.names[0], name)), None)
        if first is None or not all(any(re.match(pattern, name) for name in shapes) for pattern in kind.names[1:]):
            continue
        if _has_shape(shapes[first], kind):
            return kind
    return None


def model_kind(model: nn.Module) -> Kind | None:
    """The row for the weights that `model` itself has."""
    return tensors_kind({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})


def pickled_kind(path: Path) -> Kind | None:
    """The row for a pickle that is not read, as of caffe2, by the names in it. Nothing in it is executed."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                with archive.open(inside) as file:
                    data = file.read(MOST_PICKLED)
        else:
            with path.open("rb") as file:
                data = file.read(MOST_PICKLED)
    except (OSError, StopIteration, zipfile.BadZipFile):
        return None
    return tensors_kind(dict.fromkeys(_texts(data)))


def _texts(data: bytes) -> Iterable[str]:
    """Finds the texts in a pickle, as far as it can be parsed. A legacy file of torch has several pickles in a row."""
    stream, found = io.BytesIO(data), list[str]()
    try:
        while stream.tell() < len(data):
            for _, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str):
                    found.append(argument)
                elif isinstance(argument, bytes) and len(argument) < 200:
                    found.append(argument.decode("latin-1"))
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError):
        pass  # as far as it goes: what follows is the tensors' own bytes
    return found


def _has_shape(shape: tuple[int, ...] | None, kind: Kind) -> bool:
    if shape is None:
        return True
    if kind.axes is not None and len(shape) != kind.axes:
        return False
    if not kind.shape:
        return True
    return len(shape) == len(kind.shape) and all(
        wanted in (None, size) for size, wanted in zip(shape, kind.shape, strict=True)
    )


def _all_found(patterns: Iterable[str], names: Iterable[str]) -> bool:
    return all(any(re.search(pattern, name) for name in names) for pattern in patterns)
