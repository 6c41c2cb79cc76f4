"""Where temporary files lie unless the user says otherwise."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def cache_folder(given: Path | None = None) -> Path:
    """`given`, else the user's cache folder (XDG Base Directory Specification)."""
    if given is not None:
        return given.expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kinetics-pipeline"


def make_private(folder: Path) -> None:
    """Makes a folder of the cache, with those above it, for this user alone (mode 0700). One that is there stays.

    Raises OSError; where something other than a folder is in the way, NotADirectoryError.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
