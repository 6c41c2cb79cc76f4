"""One thing that `doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `wrong` keeps the job from running; `note` costs speed or a feature."""

    what: str
    state: State
    says: str
    mend: str = ""
