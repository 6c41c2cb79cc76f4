"""What YouTube was seen to say when a video does not play, and what each saying means: `youtube_answers.tsv`.

A row: kind, playability status, reason, subreason, the outcome it must have, and where it was seen (a public issue, or
`constructed`).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

from tests.fake_youtube.answers import refusal


class Said(NamedTuple):
    kind: str
    status: str
    reason: str
    subreason: str
    outcome: str
    report: str

    @property
    def playability(self) -> dict[str, Any]:
        """The player's API response for it."""
        return refusal(self.status, self.reason, self.subreason)


def _rows() -> list[Said]:
    with Path(__file__).parents[1].joinpath("data", "youtube_answers.tsv").open(newline="", encoding="utf-8") as table:
        return [Said(**row) for row in csv.DictReader(table, delimiter="\t")]


ROWS = _rows()
