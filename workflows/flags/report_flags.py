"""The flags of `report` that belong to its page or to its viewer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.flags.places import Config
from kinetics_pipeline.workflows.flags.written import LIST, require_file_name


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ReportConfig(Config):
    """What the page or the viewer shows besides the dataset, and where."""

    run: Annotated[tuple[Path, ...], Parameter(negative=(), show_default=False)] = ()
    """A run folder: its curves and scores, and its mistakes with --serve. The page's default: those beside it."""
    with_media: Annotated[bool, Parameter(negative=())] = False
    """Show frames of some clips, not only their flow, with --html. Frames may show people."""
    cache: Path | None = None
    """The build's --cache, where its log lies, for --html and --json. Default: ~/.cache/kinetics-pipeline."""
    marks: Path | None = None
    """The list of marked clips, for --serve. Default: marked-clips.txt in this folder."""
    port: int = 0
    """The port of 127.0.0.1, for --serve. Default: a free one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_file_name("--marks", self.marks, LIST)

    def require_use(self, *, html: bool, json: bool, serve: bool) -> None:
        """Raises UserError for a flag that nothing would come of."""
        used = (
            ("--run", self.run, "--html, --json or --serve", html or json or serve),
            ("--with-media", self.with_media, "--html", html),
            ("--cache", self.cache, "--html or --json", html or json),
            ("--marks", self.marks, "--serve", serve),
            ("--port", self.port, "--serve", serve),
        )
        for flag, value, where, is_used in used:
            if value and not is_used:
                raise UserError(f"{flag} is given without {where}, where it counts")
