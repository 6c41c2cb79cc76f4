"""The rounds of a campaign: which fault, over which store and source, and what came of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from kinetics_pipeline.workflows.benchmarks.chaos.ground import Ground, SourceKind, StoreKind, place_of
from kinetics_pipeline.workflows.benchmarks.chaos.judge import Verdict


@dataclass
class Round:
    """One round, as its number and the campaign's seed say."""

    number: int
    turn: int
    """How many rounds of this fault came before."""
    ground: Ground
    folder: Path
    """Its own, empty."""
    random: Random
    planted: str = ""
    injected: int = 0
    """Faults that did happen."""
    verdicts: list[Verdict] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What was done, for whoever reads of a failed round."""

    @property
    def store(self) -> StoreKind:
        return ("disk", "S3")[self.turn % 2]

    @property
    def source(self) -> SourceKind:
        """The kind of source of this round; without a cluster, a folder."""
        if self.ground.cluster is None:
            return "folder"
        return ("folder", "server", "youtube")[self.turn % 3]

    @property
    def place(self) -> str:
        return place_of(self.store, self.folder)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def wrong(self, problem: str) -> None:
        self.verdicts.append(Verdict(wrong=[problem]))


Play = Callable[[Round], None]


@dataclass(frozen=True)
class Played:
    """What came of a round."""

    number: int
    fault: str
    injected: int
    verdicts: tuple[Verdict, ...]
    told: tuple[str, ...]
    seconds: float

    @property
    def problems(self) -> list[str]:
        return [problem for verdict in self.verdicts for problem in verdict.problems]


def play(number: int, seed: int, faults: Mapping[str, Play], ground: Ground, planted: str = "") -> Played:
    """Plays one round. Never raises for what the builds do."""
    names = list(faults)
    name = names[number % len(names)]
    folder = ground.folder / f"round-{number}"
    folder.mkdir()
    turn = number // len(names)
    one = Round(number, turn, ground, folder, Random(f"{seed} {number}"), planted)  # noqa: S311 (nothing secret)
    began = time.monotonic()
    ground.bucket.share = 0.0
    ground.bucket.random.seed(f"{seed} {number} bucket")
    try:
        faults[name](one)
    except Exception:  # noqa: BLE001 (a defect of the benchmark or of what it runs, told with its round)
        one.wrong(traceback.format_exc())
    finally:
        ground.bucket.share = 0.0
        ground.bucket.left = ground.server.left = 0
    return Played(number, name, one.injected, tuple(one.verdicts), tuple(one.told), time.monotonic() - began)
