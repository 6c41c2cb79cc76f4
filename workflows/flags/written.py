"""Names of what a command writes: one that says something else than what is written is refused before the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import without_secrets

JSON = (".json",)
LIST = (".txt", "")
FILES = frozenset(
    {
        ".arrow",
        ".avi",
        ".csv",
        ".gz",
        ".html",
        ".jpeg",
        ".jpg",
        ".json",
        ".jsonl",
        ".mkv",
        ".mp4",
        ".npy",
        ".npz",
        ".parquet",
        ".pdf",
        ".pickle",
        ".pkl",
        ".png",
        ".pt",
        ".pth",
        ".safetensors",
        ".svg",
        ".tar",
        ".tgz",
        ".txt",
        ".webm",
        ".zip",
    }
)
"""Suffixes of files; a folder of such a name would be taken for one."""


def require_file_name(flag: str, path: Path | None, suffixes: Sequence[str]) -> None:
    """Raises UserError for a file of another suffix; the empty one stands for none. Devices have none, and a folder is
    refused by who writes."""
    if path is None or path.suffix.lower() in suffixes or (path.exists() and not path.is_file()):
        return
    allowed = " or ".join(suffix or "no suffix" for suffix in suffixes)
    raise UserError(f"{flag} is {path}; allowed: a file with {allowed}")


def require_folder_name(flag: str, place: str | Path | None) -> None:
    """Raises UserError for a folder or a URI that is named like a file, unless there is such a folder."""
    if place is None:
        return
    name = PurePosixPath(str(place).rstrip("/"))
    if name.suffix.lower() in FILES and not Path(place).is_dir():
        raise UserError(f"{flag} is {without_secrets(str(place))}, which is the name of a file; allowed: a folder")
