"""The list of archives that a dataset takes its clips from, as the dataset keeps it: frozen once, in groups.

An archive is a unit of fetching, also one that was cut into parts. The order is that of a hash of the address, so
mirrors agree, and a larger `--limit` reads on where a smaller one stopped. Replacements come before what they replace.
Later runs that ask for archives which the list does not have (other splits, another copy) add them at its end.
Everything here is pure; what is read from a dataset's `state/` may come from a stranger.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.sources.archives.copies import Address, canonical
from kinetics_pipeline.sources.archives.fetch import Seen
from kinetics_pipeline.sources.base import Container
from kinetics_pipeline.sources.local.parts import SUFFIXES, grouped

SEED = b"kinetics-archives"
"""The seed of the order of archives. Never changed."""
UNKNOWN_SIZE = 4 << 30
"""The bytes that an archive may have whose server does not say its size; the largest published has 2 GB."""
NOTES_SHARE = 0.01
"""Bytes beside an archive that say what lies where in it, relative to its own: on the large side."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class ListedArchive(msgspec.Struct, frozen=True, kw_only=True):
    """An archive in the frozen list."""

    key: str
    """A digest of its address in the public copy."""
    names: list[str]
    """The addresses of its parts without mirror and secrets, in order."""
    copy: str
    """What tells the source it belongs to from the others."""
    sizes: list[_Count | None]
    """Bytes of each part; None where they are not known."""
    versions: list[str]
    """ETag or date of each part, as its server said when the list was frozen."""
    absent: list[_Count] = []
    """The numbers of the parts that were not there when their server was asked last."""
    replaces: bool
    group: _Count

    @property
    def most(self) -> int:
        """Bytes that it takes in the cache, on the large side. One of which a part is not there takes none."""
        if self.is_absent:
            return 4096
        return int(sum(UNKNOWN_SIZE if size is None else size for size in self.sizes) * (1 + NOTES_SHARE)) + 4096

    @property
    def is_absent(self) -> bool:
        """Whether it was not there, or empty, when its server was asked last."""
        return bool(self.absent) or 0 in self.sizes

    @property
    def allowed(self) -> tuple[int | None, ...]:
        """Bytes that each part may have; 0 for one that was not there, None where they are not known."""
        return tuple(0 if number in self.absent else size for number, size in enumerate(self.sizes))

    def looked_at(self, seen: Sequence[Seen]) -> ListedArchive:
        """The same archive with what its server says of its parts now."""
        return msgspec.structs.replace(
            self,
            sizes=[part.size for part in seen],
            versions=[part.version for part in seen],
            absent=[number for number, part in enumerate(seen) if not part.there],
        )

    @property
    def title(self) -> str:
        """What messages call it."""
        return posixpath.basename(unquote(urlsplit(self.names[0]).path)) or self.key


class ArchiveList(msgspec.Struct, kw_only=True):
    """`state/archives.json`."""

    archives: list[ListedArchive] = []

    def groups(self) -> list[list[ListedArchive]]:
        """The archives of each group, in order."""
        return [list(members) for _, members in groupby(self.archives, key=lambda one: one.group)]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each group in the cache."""
        return [sum(one.most for one in group) for group in self.groups()]

    @property
    def reserve(self) -> int:
        """Bytes of the two largest groups: one that is worked on, and one on its way."""
        return two_largest(self.sizes)


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an archive once it was read, or given up: `state/archives/KEY.json`."""

    members: list[tuple[str, _Count, _Count]] = []
    """(name, offset as in `sources.base.Inside`, bytes)."""
    container: Container = "tar"
    size: _Count = 0
    damage: str = ""
    """How its end was lost, or why there is nothing of it at all."""
    given_up: bool = False
    """Whether there is nothing of it."""


@dataclass(frozen=True)
class RemoteArchive:
    """An archive that a command asks for."""

    copy: str
    addresses: tuple[Address, ...]
    """Its parts, in order."""
    names: tuple[str, ...]
    """Their addresses without mirror and secrets."""

    @property
    def key(self) -> str:
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    @property
    def replaces(self) -> bool:
        return self.addresses[0].replaces


def remote_archives(copy: str, addresses: Iterable[Address], mirror: str | None) -> list[RemoteArchive]:
    """The archives, parts of one put together, in the fixed order. Raises UserError for one that lacks a part."""
    by_path = _by_path(addresses)
    found = []
    for paths in grouped(by_path):
        parts = tuple(by_path[path] for path in paths)
        names = tuple(without_secrets(canonical(part.url, mirror)) for part in parts)
        found.append(RemoteArchive(copy, parts, names))
    return sorted(found, key=_place)


def require_readable(addresses: Iterable[Address], where: str) -> None:
    """Raises UserError for an address that only looks like that of a part, as `x.tar.xz` does."""
    by_path = _by_path(addresses)
    read = grouped(by_path)
    alone = {path for paths in read for path in paths}
    for path, one in by_path.items():
        if path not in alone and not any(paths[0].name == path.name[: len(paths[0].name)] for paths in read):
            raise UserError(
                f"{where}: {one.name!a} is not an archive that is read; allowed: {', '.join(SUFFIXES)}, parts"
            )


def _by_path(addresses: Iterable[Address]) -> dict[Path, Address]:
    return {Path(one.url.split("://", 1)[-1]).with_name(one.name): one for one in addresses}


def _place(archive: RemoteArchive) -> tuple[bool, bytes, str]:
    name = archive.addresses[0].name
    drawn = hashlib.blake2b(name.encode(), digest_size=16, key=SEED).digest()
    return not archive.replaces, drawn, archive.key


_Archive = TypeVar("_Archive", RemoteArchive, ListedArchive)


def two_largest(sizes: Sequence[int]) -> int:
    return sum(sorted(sizes)[-2:])


def group_size(known: ArchiveList, new: ArchiveList, most: int, room: int) -> int:
    """The largest number of archives a group, up to `most`, of which two groups fit in `room` bytes, those that are
    known included; 0 where not even groups of one archive do."""
    sizes = [[one.most for one in run] for run in _runs(new.archives)]
    for number in range(most, 0, -1):
        groups = [sum(run[begin : begin + number]) for run in sizes for begin in range(0, len(run), number)]
        if two_largest([*known.sizes, *groups]) <= room:
            return number
    return 0


def _runs(archives: Iterable[_Archive]) -> Iterator[list[_Archive]]:
    """Splits archives where no group may reach across: copies, and replacements from what they replace."""
    for _, members in groupby(archives, key=lambda one: (one.copy, one.replaces)):
        yield list(members)


def listed(
    known: ArchiveList, new: Sequence[RemoteArchive], seen: Mapping[str, Sequence[Seen]], per_group: int
) -> ArchiveList:
    """The list with new archives at its end, `per_group` a group. `seen`: what the servers say of the parts, by key."""
    group = known.archives[-1].group + 1 if known.archives else 0
    found = list(known.archives)
    for run in _runs(new):
        for begin in range(0, len(run), per_group):
            for one in run[begin : begin + per_group]:
                found.append(
                    ListedArchive(
                        key=one.key,
                        names=list(one.names),
                        copy=one.copy,
                        sizes=[part.size for part in seen[one.key]],
                        versions=[part.version for part in seen[one.key]],
                        absent=[number for number, part in enumerate(seen[one.key]) if not part.there],
                        replaces=one.replaces,
                        group=group,
                    )
                )
            group += 1
    return ArchiveList(archives=found)
