"""What a user may say about downloading. Plain data inside every network source: it travels to the child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinetics_pipeline.errors import UserError

ACCESS = frozenset({"private", "age_restricted", "members_only"})
"""What cookies can open, and what stays refused unless it is allowed by name."""


@dataclass(frozen=True)
class SourceOptions:
    """Options of the network sources."""

    short_side: int = 256
    """The recipe's: YouTube's smallest format that is at least so large is taken."""
    cookies: str | None = field(default=None, repr=False)
    """The text of a Netscape cookie file (not its path: nodes share no disk). Never stored."""
    proxy: str | None = field(default=None, repr=False)
    ytdlp_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Handed to yt-dlp as they are, after `opener.require_passable`."""
    allow_access: frozenset[str] = frozenset()
    """Of `ACCESS`."""
    allow_private_addresses: bool = False
    timeout: float = 20.0
    """Seconds without a byte."""
    max_filesize: int = 2 << 30
    """Bytes a file may have."""


def read_cookies(path: Path) -> str:
    """The text of a cookie file in Netscape's format. Raises UserError when it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cookies {path} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from None
    lines = [line for line in text.splitlines() if line.strip() and (not line.startswith("#") or "#HttpOnly_" in line)]
    if not lines or any(len(line.split("\t")) != 7 for line in lines):
        raise UserError(f"cookies {path} is not a cookie file in Netscape's format (lines of 7 fields, tabs between)")
    return text
