"""Holds what a round has left against what a build that nothing disturbed has made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.open_store import open_store

_NOTES = frozenset({"state/attempts.json", "state/egress.json", "state/probe"})
"""Files of a build's state that are written where there was trouble or on object stores, and stay."""
_LEASE = re.compile(r"state/lease/\d+\.json")


@dataclass(frozen=True)
class Made:
    """What a build has made."""

    outcomes: Mapping[str, tuple[str, ...]]
    """The outcomes of all its records, by clip."""
    digests: Mapping[str, str | None]
    """SHA-256 of each shard's data file, by shard."""
    files: Counter[str]
    """Names in the dataset; the number of the lease does not matter."""
    left: tuple[str, ...]
    """Files in the cache."""
    faults: tuple[str, ...]
    """What `verify` says."""


@dataclass
class Verdict:
    """What is wrong after a round."""

    lost: list[str] = field(default_factory=list)
    """Clips without an outcome."""
    doubled: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    """Files that should not be there, in the dataset or the cache."""
    missing: list[str] = field(default_factory=list)
    """Files that should."""
    differs: list[str] = field(default_factory=list)
    """Shards with other bytes."""
    wrong: list[str] = field(default_factory=list)
    """Outcomes that differ, what `verify` found, and commands that ended in another way than they should."""

    @property
    def problems(self) -> list[str]:
        kinds = {
            "lost": self.lost,
            "doubled": self.doubled,
            "stray": self.stray,
            "missing": self.missing,
            "other bytes": self.differs,
            "wrong": self.wrong,
        }
        return [f"{kind}: {', '.join(found[:5])}" for kind, found in kinds.items() if found]


def made(place: str, cache: Path) -> Made:
    """Looks at a dataset whose build has ended. Raises UserError where there is none."""
    dataset = Dataset.open(place)
    outcomes: dict[str, tuple[str, ...]] = {}
    digests: dict[str, str | None] = {}
    for marker in dataset.markers():
        digests[marker.shard] = marker.sha256
        for entry in marker.clips:
            outcomes[entry["clip_id"]] = (*outcomes.get(entry["clip_id"], ()), entry["outcome"])
    files = Counter(_LEASE.sub("state/lease", name) for name, _ in open_store(place).list())
    if "://" not in place:  # listings pass over what a writer has not finished
        files += Counter(str(p.relative_to(place)) for p in Path(place).rglob("*") if p.name.startswith("."))
    files_left = (path.relative_to(cache) for path in cache.rglob("*") if path.is_file())
    left = tuple(str(path) for path in files_left if path.parts[0] != "log")
    faults = tuple(f"{fault.file}: {fault.problem}" for fault in verify(dataset).faults)
    return Made(outcomes, digests, files, left, faults)


def judge(place: str, cache: Path, asked: Iterable[str], undisturbed: Made) -> Verdict:
    try:
        found = made(place, cache)
    except UserError as error:
        return Verdict(wrong=[str(error)])
    return compared(found, asked, undisturbed)


def compared(found: Made, asked: Iterable[str], undisturbed: Made) -> Verdict:
    more = found.files - undisturbed.files
    return Verdict(
        lost=[clip for clip in asked if clip not in found.outcomes],
        doubled=[clip for clip, outcomes in found.outcomes.items() if len(outcomes) > 1],
        stray=[*(name for name in more if name not in _NOTES), *found.left],
        missing=[name for name in undisturbed.files - found.files if name not in _NOTES],
        differs=[shard for shard, digest in undisturbed.digests.items() if found.digests.get(shard) != digest],
        wrong=[
            *found.faults,
            *(
                f"{clip} is {outcomes[0]}"
                for clip, outcomes in found.outcomes.items()
                if outcomes[0] != undisturbed.outcomes.get(clip, ("not asked",))[0]
            ),
        ],
    )
