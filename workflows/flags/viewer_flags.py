"""The flags of `report --serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kinetics_pipeline.workflows.flags.places import Config


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ViewerConfig(Config):
    """What the viewer shows, and where."""

    run: Annotated[tuple[Path, ...], Parameter(negative=())] = ()
    """For --serve: a run folder that `evaluate` has scored; also show what its network said of the clips."""
    marks: Path | None = None
    """For --serve: the list of marked clips. Default: marked-clips.txt in this folder."""
    port: int = 0
    """For --serve: the port of 127.0.0.1. Default: a free one."""
