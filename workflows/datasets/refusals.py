"""`tools refusals`: how messages of yt-dlp and YouTube are read, so that a report becomes a row of the tables."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.base import Failure, is_signal
from kinetics_pipeline.sources.pace.breaker import is_doubtful
from kinetics_pipeline.sources.youtube.refusals import from_texts, redacted, without_prefix

MOST_BYTES = 10 << 20
"""A log of a day has less."""


def refusals(file: str) -> None:
    """Prints what each line of a file (`-`: standard input) means. Lines that begin with WARNING, as yt-dlp says them
    before an error, belong to the next line. Raises UserError for a file that cannot be read."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    warnings: list[str] = []
    unknown = 0
    for line in _lines(file):
        if line.startswith("WARNING"):
            warnings.append(line)
            continue
        failure = from_texts([line], warnings)
        warnings = []
        unknown += failure.outcome == "internal"
        console.print(f"{redacted(without_prefix(line))}\n    {_shown(failure)}: {failure.detail}")
    if unknown:
        console.print(f"{unknown} on no list: please report them, with what the video's page says in a browser")


def _shown(failure: Failure) -> str:
    if is_signal(failure.outcome):
        return f"{failure.outcome} (pauses)"
    return f"{failure.outcome}{' (doubtful)' if is_doubtful(failure.outcome, failure.detail) else ''}"


def _lines(file: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read(MOST_BYTES) if file == "-" else _beginning(Path(file))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    return [line for line in map(str.strip, data.decode("utf-8", "replace").splitlines()) if line]


def _beginning(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(MOST_BYTES)
