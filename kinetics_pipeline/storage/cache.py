"""Where temporary files lie unless the user says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(given: Path | None = None) -> Path:
    """`given`, else the user's cache folder (XDG Base Directory Specification)."""
    if given is not None:
        return given.expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kinetics-pipeline"
