"""What is kept beside features: how they were made (`features.json`, written first), and one outcome a video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.records import RETRYABLE, Outcome
from kinetics_pipeline.workflows.scoring.extraction.videos import Item
from kinetics_pipeline.workflows.training.run_folder import write_json

HOW = "features.json"
OUTCOMES = "outcomes"
COMPARED = ("layout", "what", "dtype", "format", "frames", "networks")
"""The parts of `features.json` that a second run must share; versions and paths of weights may differ."""


@dataclass(frozen=True)
class VideoOutcome:
    """What became of one video. Its file is written after those of its features."""

    stem: str
    place: str
    outcome: Outcome
    detail: str = ""
    size: int = 0
    modified: int = 0
    """Size and last change of the file when it was read: another file is read again."""
    frames: int = 0
    rows: int = 0
    fps: float = 0.0
    files: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage worked, without the time that it waited for others."""
    finished: str = ""

    @classmethod
    def of(cls, item: Item, outcome: Outcome, detail: str = "", **known: Any) -> VideoOutcome:
        """The outcome of an item, finished now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = " ".join(detail.split())
        return cls(item.stem, item.place, outcome, line, item.size, item.modified, **known, finished=now)

    def write(self, folder: Path) -> None:
        """Writes it below `folder`, whole or not at all."""
        (folder / OUTCOMES).mkdir(exist_ok=True)
        write_json(folder / OUTCOMES / f"{self.stem}.json", asdict(self))


def settled(folder: Path, item: Item) -> VideoOutcome | None:
    """The outcome of a video that need not be read again: one that is final, of this same file, whose features are
    there."""
    try:
        document = json.loads((folder / OUTCOMES / f"{item.stem}.json").read_bytes())
        known = VideoOutcome(**{f.name: document[f.name] for f in fields(VideoOutcome)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = (known.size, known.modified) == (item.size, item.modified)
    if not same or known.outcome in RETRYABLE or known.outcome == "not_found":
        return None
    if known.outcome == "ok" and not all(isinstance(f, str) and (folder / f).is_file() for f in known.files):
        return None
    return known


def kept(folder: Path) -> dict[str, Any] | None:
    """What `features.json` says; None where there is none. Raises UserError for one that cannot be read."""
    try:
        document = json.loads((folder / HOW).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / HOW} cannot be read: {str(error).splitlines()[0]}; give another --to") from error
    if not isinstance(document, dict):
        raise UserError(f"{folder / HOW} is damaged; give another --to")
    return document


def require_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises UserError that names the first field in which what is asked differs from what lies there."""
    for part in COMPARED:
        mine, asked = before.get(part), json.loads(json.dumps(now[part]))
        if (name := _difference(part, mine, asked)) is not None:
            field_name, was, wanted = name
            raise UserError(
                f"{field_name} is {wanted}, but the features in {folder} were made with {was}; "
                "ask for the same, or give another --to"
            )


def _difference(name: str, mine: Any, asked: Any) -> tuple[str, Any, Any] | None:
    """The first field below `name` that differs, and both values."""
    if isinstance(mine, dict) and isinstance(asked, dict):
        for key in [*asked, *(key for key in mine if key not in asked)]:
            if key == "path":
                continue
            found = _difference(f"{name}.{key}", mine.get(key), asked.get(key))
            if found is not None:
                return found
        return None
    return None if mine == asked else (name, mine, asked)


def start_folder(folder: Path) -> None:
    """Makes the folder. Raises UserError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"--to is {folder}, which cannot be written to: {error.strerror}") from error


def write_how(folder: Path, document: Mapping[str, Any]) -> None:
    """Writes `features.json`. Raises JobFailed where it cannot be written."""
    try:
        write_json(folder / HOW, document)
    except OSError as error:
        raise JobFailed(f"{folder / HOW} cannot be written: {error.strerror}") from error
