"""What locks of files (flock) need beside the call: the file that is locked may have been removed meanwhile."""

from __future__ import annotations

import os
from pathlib import Path


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at `path`: who held its lock before may have removed or replaced it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
