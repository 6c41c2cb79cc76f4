"""Freezing the list of archives: what their servers say of them, and groups of which two fit in the cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.sources.archives.fetch import Fetcher, NobodyThere, Seen
from kinetics_pipeline.sources.archives.listed import ArchiveList, RemoteArchive, group_size, listed, two_largest
from kinetics_pipeline.workflows.building.archives.kept import kept_sizes
from kinetics_pipeline.workflows.runtime.progress import size

AT_ONCE = 8
"""Archives whose servers are asked for their size at a time."""


@dataclass(frozen=True)
class AskedArchives:
    """The archives that a command asks for."""

    archives: tuple[RemoteArchive, ...]
    names: Mapping[str, str]
    """What records call each copy, by its key."""
    typed: tuple[str, ...]
    private_allowed: bool
    """See `Fetcher`."""
    per_plan: int
    """Archives of one group, at most."""
    may_hold: Callable[[str, Collection[str]], bool]
    """Whether the archive of this name may hold clips of these classes."""
    say: Callable[[str], None]
    keep: str | None = None
    """The place where archives are kept, and are looked for first."""


@dataclass(frozen=True)
class Room:
    """What the cache has for archives."""

    bytes: int
    need: int
    """Bytes that are left to a shard, which are not among them."""
    limit: int | None
    """What the user allows; None: what the disk gives."""

    def require(self, archives: int) -> None:
        """Raises UserError where the user's limit is too small for so many bytes of archives, WorkRemains where the
        disk is."""
        if archives <= self.bytes:
            return
        groups = f"{size(archives)} of archives, one group in use and one on its way"
        what = f"{size(archives + self.need)}: {groups}, and {size(self.need)} for a shard"
        if self.limit is not None:
            raise UserError(f"--max-disk is {size(self.limit)}; this build needs at least {what}")
        raise WorkRemains(f"the disk of the cache is too small; this build needs at least {what}; name another --cache")


def frozen_list(known: ArchiveList, asked: AskedArchives, room: Room, again: Collection[str] = ()) -> ArchiveList:
    """The list with the archives that it does not have yet at its end. `again`: the keys of archives on it whose
    servers are asked once more what there is.

    Raises UserError where --max-disk does not hold two groups of one archive, WorkRemains where the disk does not, and
    where a server cannot be reached.
    """
    known = _looked_at_again(known, asked, again)
    there = {one.key for one in known.archives}
    new = [one for one in asked.archives if one.key not in there]
    if not new:
        room.require(known.reserve)
        return known
    seen = look(new, asked.typed, asked.private_allowed, asked.keep)
    alone = listed(ArchiveList(), new, seen, 1)
    number = group_size(known, alone, asked.per_plan, room.bytes)
    if number == 0:
        room.require(two_largest([*known.sizes, *alone.sizes]))
    if number < min(asked.per_plan, len(new)):
        asked.say(f"archives are fetched in groups of {number}: the cache holds two groups")
    return listed(known, new, seen, max(1, number))


def _looked_at_again(known: ArchiveList, asked: AskedArchives, keys: Collection[str]) -> ArchiveList:
    """What servers say now of archives that were not there, or damaged; what was said before where nobody answers."""
    archives = [one for one in asked.archives if one.key in keys]
    if not archives:
        return known
    try:
        seen = look(archives, asked.typed, asked.private_allowed, asked.keep)
    except WorkRemains:  # who fetches them waits for the server
        return known
    return ArchiveList(archives=[one.looked_at(seen[one.key]) if one.key in seen else one for one in known.archives])


def look(
    archives: Sequence[RemoteArchive], typed: Sequence[str], private_allowed: bool, keep: str | None = None
) -> dict[str, list[Seen]]:
    """What the servers say of the parts of archives, by key; where a part is not there, what `keep` has of the archive.
    `typed`, `private_allowed`: see `Fetcher`. Raises WorkRemains where a server cannot be reached."""
    fetcher = Fetcher(typed, private_allowed)

    def parts(archive: RemoteArchive) -> list[Seen]:
        seen = [fetcher.look(address) for address in archive.addresses]
        if keep is None or all(part.there for part in seen):
            return seen
        sizes = kept_sizes(keep, archive.key, [address.name for address in archive.addresses])
        return seen if sizes is None else [Seen(size, "") for size in sizes]

    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return {one.key: seen for one, seen in zip(archives, threads.map(parts, archives), strict=True)}
    except NobodyThere as error:
        raise WorkRemains(f"the archives' server cannot be reached ({error})") from None
