"""Public copies as sources of a build: which archives are asked for, whether they fit, and their videos once here.

The archives are fetched before the job graph starts and stay in the cache, so that the same command, or one that asks
for more, fetches only what is not there yet. All of them must fit on its disk.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kinetics_pipeline.annotations.class_names import matched
from kinetics_pipeline.annotations.download import download
from kinetics_pipeline.annotations.table import Annotations, clips_of
from kinetics_pipeline.errors import UserError
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
from kinetics_pipeline.sources.archives.fetch import Fetcher, Say
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.sources.local.held import held
from kinetics_pipeline.sources.local.tars import TarSource
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.workflows.runtime.progress import size

SEED = b"kinetics-archives"
"""The seed of the order of archives. Never changed: a larger --limit reads on where a smaller one stopped."""
AT_ONCE = 8
"""Archives between two looks at whether --limit is reached; sizes that are asked for at a time."""
SUFFIX = re.compile(r"\.(tar\.gz|tar|tgz|zip)([._-].*)?$", re.IGNORECASE)
CLASS_INDEX = re.compile(r"k700_(?:train|val)_(\d{3})")
"""Kinetics-700's archives of train and val: one for each class, by its place among the sorted names."""


@dataclass(frozen=True)
class Wanted:
    """What of a copy is asked for, and where it may go."""

    text: str
    """The copy as `--source` names it."""
    mirror: str | None
    splits: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    limit: int | None
    cache: Path | None
    max_disk: int | None
    private_allowed: bool
    say: Say

    @property
    def name(self) -> str:
        """What records and messages call it."""
        return CVDF if self.text.lower() == CVDF else without_secrets(self.text)


@dataclass(frozen=True)
class UnfetchedCopy:
    """A copy before its archives are fetched: what `plan` knows of it."""

    name: str
    archives: int
    bytes: int
    """The size of the archives that are not in the cache, as their servers say."""
    unknown: int
    """Archives whose servers do not say a size."""
    on_network: ClassVar[bool] = False

    def candidates(self, clip: Clip) -> list[Media]:
        """None yet: what an archive holds is known once it is here."""
        return []


def look_at(wanted: Wanted, annotations: Annotations) -> UnfetchedCopy:
    """What would be fetched; asks for lists and sizes alone."""
    addresses = _addresses(wanted, annotations)
    sizes = _sizes(_fetcher(wanted), addresses)
    known = [one for one in sizes if one is not None]
    return UnfetchedCopy(wanted.name, len(addresses), sum(known), len(sizes) - len(known))


def fetch(wanted: Wanted, annotations: Annotations) -> tuple[TarSource | None, Annotations]:
    """The videos of a copy, fetched as far as they are not in the cache; None when no archive could be had.

    With a limit archives are fetched in a fixed order until they hold so many of the clips asked for; the annotations
    then have these clips alone. Raises UserError where the archives do not fit, WorkRemains when the server is down.
    """
    addresses = _addresses(wanted, annotations)
    fetcher = _fetcher(wanted)
    if wanted.limit is None:
        _require_room(wanted, fetcher, addresses)
        return _source(wanted, fetcher.fetch(addresses)), annotations
    asked = _selected(annotations, wanted)
    ordered = _in_fixed_order(addresses)
    paths: list[Path] = []
    for begin in range(0, len(ordered), AT_ONCE):
        some = ordered[begin : begin + AT_ONCE]
        _require_room(wanted, fetcher, some)
        paths += fetcher.fetch(some)
        source = _source(wanted, paths)
        there = held(source, asked) if source is not None else set()
        if len(there) >= wanted.limit:
            return source, annotations.only(there)
    return _source(wanted, paths), annotations


def _source(wanted: Wanted, paths: Sequence[Path]) -> TarSource | None:
    if not paths:
        return None
    source = TarSource(paths, cache_folder(wanted.cache) / "tars", wanted.say, wanted.name)
    source.notes += sum(path.stat().st_size for path in paths)
    return source


def _fetcher(wanted: Wanted) -> Fetcher:
    typed = [wanted.mirror or PUBLIC_COPY] if wanted.text.lower() == CVDF else [wanted.text]
    return Fetcher(cache_folder(wanted.cache) / "archives", typed, wanted.private_allowed, wanted.say)


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
    elif is_list(wanted.text):
        found = _listed(wanted.text, wanted)
    else:
        address = quoted(wanted.text)
        if address is None:
            raise UserError(f"source {without_secrets(wanted.text)!r} is not an http(s) address")
        found = [Address(address)]
    kept = [one for one in found if _may_hold(one, wanted.classes, annotations.labels)]
    return sorted(dict.fromkeys(kept), key=lambda one: not one.replaces)


def _listed(url: str, wanted: Wanted) -> list[Address]:
    file = io.BytesIO()
    answer = download(url, file)
    shown = without_secrets(url)
    if answer.status != 200:
        raise UserError(f"list {shown}: the server answered {answer.status} {answer.reason}")
    return addresses_in(file.getvalue().decode("utf-8-sig", "replace"), shown, wanted.mirror)


def _may_hold(address: Address, classes: Sequence[str] | None, labels: Sequence[str]) -> bool:
    """False for an archive that is named after another class than those asked for."""
    if classes is None:
        return True
    stem = SUFFIX.sub("", address.name)
    label = matched(stem, labels)
    if label is not None:
        return label in classes
    index = CLASS_INDEX.fullmatch(stem)
    if index is None:
        return True
    # Whether the numbers begin at 0 or at 1 is said nowhere: both archives that may be meant are fetched.
    return bool({int(index[1]), int(index[1]) - 1} & {labels.index(one) for one in classes if one in labels})


def _in_fixed_order(addresses: Sequence[Address]) -> list[Address]:
    """Replacements first, then by a hash of the name; the host does not count, so that mirrors agree."""

    def key(one: Address) -> tuple[bool, bytes]:
        return not one.replaces, hashlib.blake2b(one.name.encode(), digest_size=16, key=SEED).digest()

    return sorted(addresses, key=key)


def _selected(annotations: Annotations, wanted: Wanted) -> list[Clip]:
    table = annotations.table
    if wanted.splits is not None:
        table = table[table["split"].isin(list(wanted.splits))]
    if wanted.classes is not None:
        table = table[table["label"].isin(list(wanted.classes))]
    return list(clips_of(table))


def _sizes(fetcher: Fetcher, addresses: Sequence[Address]) -> list[int | None]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(fetcher.size, addresses))


def _require_room(wanted: Wanted, fetcher: Fetcher, addresses: Sequence[Address]) -> None:
    """Raises UserError when the archives do not fit: together they must."""
    new = sum(filter(None, _sizes(fetcher, addresses)))
    folder = fetcher.folder
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    there = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    narrow = "ask for less with --split, --classes or --limit, or give a larger --cache"
    if new and new > free:
        raise UserError(f"{wanted.name}: archives of {size(new)}, but {place} has {size(free)} free; {narrow}")
    if new and wanted.max_disk is not None and new + there > wanted.max_disk:
        raise UserError(
            f"{wanted.name}: archives of {size(new + there)}, more than --max-disk {size(wanted.max_disk)}; {narrow}"
        )
