"""Archives from afar on a node: fetched into its cache, read once to find out what they hold, kept until let go."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.archives.arriving import Abandoned, Arriving
from kinetics_pipeline.sources.archives.copies import Address
from kinetics_pipeline.sources.archives.fetch import Fetcher, GivenUp, NobodyThere
from kinetics_pipeline.sources.archives.listed import UNKNOWN_SIZE
from kinetics_pipeline.sources.http.partial_file import locked
from kinetics_pipeline.sources.local.tars import Archive, known_archive
from kinetics_pipeline.workflows.building.archives.kept import from_kept, keep
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.executor import Executor, Lost, Ref

AT_ONCE = 3
"""Archives of one node that are fetched at a time."""
FETCHES = 2
"""Times that an archive is fetched which turns out to be damaged."""
PATIENCE = 120.0
"""Seconds that a process is waited for which still has the archive: that of a run that was killed ends by itself."""


@dataclass(frozen=True)
class ArchiveJob:
    """An archive that a node is to have."""

    key: str
    addresses: tuple[Address, ...]
    """One for each of its parts, in order."""
    sizes: tuple[int | None, ...]
    """The bytes that each part may have; None where they are not known, 0 for one that was not there."""
    typed: tuple[str, ...]
    private_allowed: bool
    """See `Fetcher`."""
    keep: str | None = None
    """The place where archives are kept, and are looked for first."""


@dataclass(frozen=True)
class Here:
    """It lies in the cache of a node, and this is what it holds."""

    key: str
    archive: Archive


@dataclass(frozen=True)
class NotGiven:
    """Its server does not have it, or gives something else."""

    key: str
    reason: str


@dataclass(frozen=True)
class NoAnswer:
    """Nobody could be reached; that says nothing of the archive."""

    key: str
    reason: str
    answered: bool = False
    """Whether its server began to send it, and never came further."""


@dataclass(frozen=True)
class NoRoom:
    """The disk of the cache is full, or cannot be written."""

    key: str
    reason: str


ArchiveAnswer = Here | NotGiven | NoAnswer | NoRoom


# On the node


class ArchiveNode:
    """The archives of one node, at most `AT_ONCE` on their way at a time."""

    def __init__(self, folders: CacheFolders, node: str) -> None:
        self.folders, self.node = folders, node

    def hold(self, job: ArchiveJob) -> ArchiveAnswer:
        """Fetches an archive as far as it is not here, and reads it as far as that was not done. Never raises for what
        a server or a network does."""
        folder = self.folders.archive(job.key)
        try:
            with locked(folder, "archive", patience=PATIENCE):
                return Here(job.key, replace(self._read(job, folder), node=self.node))
        except (GivenUp, UserError) as error:
            # The disk, and not the archive. An error of requests is an OSError, too: it is of the server.
            if isinstance(error, UserError) and isinstance(error.__context__, OSError):
                return NoRoom(job.key, str(error))
            shutil.rmtree(folder, ignore_errors=True)
            return NotGiven(job.key, str(error))
        except NobodyThere as error:
            return NoAnswer(job.key, str(error), error.answered)
        except TimeoutError:
            return NoAnswer(job.key, "another process is fetching it")
        except OSError as error:
            return NoRoom(job.key, error.strerror or type(error).__name__)

    def _read(self, job: ArchiveJob, folder: Path) -> Archive:
        fetches = folder / "fetches"
        while True:
            parts = tuple(folder / "parts" / address.name for address in job.addresses)
            kept = job.keep is not None and from_kept(job.keep, job.key, parts, job.sizes)
            archive = known_archive(parts, folder / "contents") if kept else _fetched(job, parts, folder / "contents")
            if job.keep is not None and not kept and not archive.damage:
                keep(job.keep, job.key, parts)
            times = _number(fetches) + 1
            if not archive.damage or times >= FETCHES:
                return archive
            shutil.rmtree(folder / "parts")
            for note in folder.glob("contents.*"):
                note.unlink()
            fetches.write_text(str(times))


def _fetched(job: ArchiveJob, parts: tuple[Path, ...], notes: Path) -> Archive:
    """Fetches an archive, and reads it while it arrives. Raises GivenUp, NobodyThere, UserError, OSError."""
    sizes = [size for size in job.sizes if size is not None]
    arriving = Arriving(parts, sizes)
    fetcher = Fetcher(job.typed, job.private_allowed, arriving.restart)

    def fetch() -> None:
        whole = False
        try:
            wanted = zip(job.addresses, job.sizes, parts, strict=True)
            for address, size, part in sorted(wanted, key=lambda one: one[1] != 0):  # the answer of an absent one first
                fetcher.fetch(address, part, UNKNOWN_SIZE if size is None else size)
            whole = True
        finally:  # however it ends, the reader must not wait for more
            arriving.end(failed=not whole)

    if len(sizes) < len(parts):
        fetch()
        return known_archive(parts, notes)
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(fetch)
        archive: Archive | None = None
        trouble: UserError | None = None
        try:
            archive = known_archive(parts, notes, arriving.open, sum(sizes))
            arriving.require_sound()
        except Abandoned:
            archive = None
        except UserError as error:
            trouble = error
        fetching.result()
    if trouble is not None:
        raise trouble
    if archive is not None and sum(part.stat().st_size for part in parts) == sum(sizes):
        return archive
    for note in notes.parent.glob(f"{notes.name}.*"):
        note.unlink()
    return known_archive(parts, notes)


def keep_only(folders: CacheFolders, keys: Collection[str]) -> None:
    """Removes the archives of this node that are not among `keys`."""
    if folders.archives.is_dir():
        for folder in folders.archives.iterdir():
            if folder.name not in keys:
                shutil.rmtree(folder, ignore_errors=True)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


# In the driver


class ArchiveExecutor(Executor, Protocol):
    """Runs `ArchiveNode` on the nodes."""

    def working_nodes(self) -> list[str]:
        """The ids of the nodes that clips can be processed on, in an order that outlives the cluster."""

    def start_hold(self, job: ArchiveJob, node: str) -> Ref: ...

    def held(self, ref: Ref) -> ArchiveAnswer | Lost: ...

    def start_workers(self) -> None:
        """Begins to start the processes that make clips: the cores have nothing else to do until archives are here."""

    def keep_only_archives(self, keys: Collection[str]) -> None:
        """Begins to remove the other archives from all nodes."""
