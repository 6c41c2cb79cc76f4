"""Public copies as sources of a command: which archives are asked for, by name, address or list.

`build` fetches them group by group (`archives`); `plan` asks for lists and sizes alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from kinetics_pipeline.annotations.class_names import matched
from kinetics_pipeline.annotations.download import Unreachable, download
from kinetics_pipeline.annotations.table import Annotations
from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.records import Clip
from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.sources.archives.copies import (
    COPIES,
    CVDF,
    PUBLIC_COPY,
    Address,
    addresses_in,
    is_list,
    lists_of,
    mirrored,
    quoted,
)
from kinetics_pipeline.sources.archives.listed import (
    ArchiveList,
    RemoteArchive,
    listed,
    remote_archives,
    require_readable,
)
from kinetics_pipeline.sources.archives.places import archives_at, is_place, typed_address
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.workflows.building.archives.freezing import look
from kinetics_pipeline.workflows.flags.build_flags import ARCHIVES_PER_PLAN

Say = Callable[[str], None]
SUFFIX = re.compile(r"\.(tar\.gz|tar|tgz|zip)([._-].*)?$", re.IGNORECASE)
CLASS_INDEX = re.compile(r"k700_(?:train|val)_(\d{3})")
"""Kinetics-700's archives of train and val: one for each class, by its place among the sorted names."""


@dataclass(frozen=True)
class Wanted:
    """What of a copy is asked for."""

    text: str
    """The copy as `--source` names it."""
    key: str
    """What tells it from the other sources."""
    mirror: str | None
    splits: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    private_allowed: bool
    say: Say

    @property
    def name(self) -> str:
        """What records and messages call it."""
        return CVDF if self.text.lower() == CVDF else without_secrets(self.text)

    @property
    def typed(self) -> str:
        """The address that the user typed, or meant."""
        return (self.mirror or PUBLIC_COPY) if self.text.lower() == CVDF else typed_address(self.text)


@dataclass(frozen=True)
class UnfetchedCopy:
    """A copy before its archives are fetched: what `plan` knows of it."""

    name: str
    archives: int
    bytes: int
    """The size of the archives, as their servers say."""
    unknown: int
    """Archives whose servers do not say a size."""
    peak: int = 0
    """Bytes of two groups of archives: the most that the cache holds of them at a time."""
    missing: int = 0
    """Archives that their servers do not have, or do not give, whose size nobody knows."""
    on_network: ClassVar[bool] = False

    def candidates(self, clip: Clip) -> list[Media]:
        """None yet: what an archive holds is known once it was fetched."""
        return []


@dataclass(frozen=True)
class CopySource:
    """A copy among the sources of a build: which archives it consists of. The plans of archives have sources of their
    own; in other plans it has nothing."""

    name: str
    archives: tuple[RemoteArchive, ...]
    typed: str
    """See `Fetcher`."""
    on_network: ClassVar[bool] = False

    def candidates(self, clip: Clip) -> list[Media]:
        return []


def look_at(wanted: Wanted, annotations: Annotations) -> UnfetchedCopy:
    """What would be fetched; asks for lists and sizes alone. Raises UserError, WorkRemains."""
    archives = remote_archives(wanted.key, _addresses(wanted, annotations), wanted.mirror)
    seen = look(archives, [wanted.typed], wanted.private_allowed)
    there = [one.size for parts in seen.values() for one in parts if one.there]
    known = [one for one in there if one is not None]
    groups = listed(ArchiveList(), archives, seen, ARCHIVES_PER_PLAN)
    missing = sum(not all(part.there for part in parts) for parts in seen.values())
    return UnfetchedCopy(wanted.name, len(archives), sum(known), len(there) - len(known), groups.reserve, missing)


def ask(wanted: Wanted, annotations: Annotations) -> CopySource:
    """The archives of a copy; asks for lists alone. Raises UserError, WorkRemains."""
    archives = remote_archives(wanted.key, _addresses(wanted, annotations), wanted.mirror)
    return CopySource(wanted.name, tuple(archives), wanted.typed)


def _addresses(wanted: Wanted, annotations: Annotations) -> list[Address]:
    """The archives that may hold the clips asked for, replacements first."""
    found: list[Address] = []
    if wanted.text.lower() == CVDF:
        if not annotations.published:
            raise UserError(f"--source cvdf goes with Kinetics by name; allowed as ANNOTATIONS: {', '.join(COPIES)}")
        for name in annotations.published:
            lists, replacements = lists_of(name, wanted.splits)
            wanted.say(f"{name}: {COPIES[name.lower()].terms}")
            found += [Address(quoted(mirrored(one.url, wanted.mirror)) or "", replaces=True) for one in replacements]
            for url in lists:
                found += _listed(mirrored(url, wanted.mirror), wanted)
    elif is_place(wanted.text):
        named = [Address(url) for url in archives_at(wanted.text)]
        found = [replace(one, replaces="replacement" in one.name.lower()) for one in named]
    elif is_list(wanted.text):
        found = _listed(wanted.text, wanted)
        require_readable(found, f"list {wanted.name}")
    else:
        address = quoted(wanted.text)
        if address is None:
            raise UserError(f"source {without_secrets(wanted.text)!r} is not an http(s) address")
        found = [Address(address)]
        require_readable(found, f"source {wanted.name}")
    if wanted.classes is not None:
        found = [one for one in found if may_hold(one.name, wanted.classes, annotations.labels)]
    return sorted(dict.fromkeys(found), key=lambda one: not one.replaces)


def _listed(url: str, wanted: Wanted) -> list[Address]:
    file = io.BytesIO()
    shown = without_secrets(url)
    try:
        answer = download(url, file)
    except Unreachable as error:
        raise WorkRemains(f"list {shown}: {error}; the same command goes on") from None
    if answer.status != 200:
        raise UserError(f"list {shown}: the server answered {answer.status} {answer.reason}")
    return addresses_in(file.getvalue().decode("utf-8-sig", "replace"), shown, wanted.mirror)


def may_hold(name: str, classes: Collection[str], labels: Sequence[str]) -> bool:
    """False for an archive that is named after another class than these, or numbered by its place in `labels`."""
    stem = SUFFIX.sub("", name)
    label = matched(stem, labels)
    if label is not None:
        return label in classes
    index = CLASS_INDEX.fullmatch(stem)
    if index is None:
        return True
    # Whether the numbers begin at 0 or at 1 is said nowhere: both archives that may be meant are fetched.
    return bool({int(index[1]), int(index[1]) - 1} & {labels.index(one) for one in classes if one in labels})
