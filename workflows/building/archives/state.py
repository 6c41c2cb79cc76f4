"""What a dataset keeps of the archives its clips come from: the frozen list, and what each of them holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.archives.listed import ArchiveList, Contents, ListedArchive
from kinetics_pipeline.sources.local.parts import is_archive
from kinetics_pipeline.sources.local.tars import Archive
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.state import read_state

LIST = "state/archives.json"
CONTENTS = "state/archives"


class ArchiveState:
    """What a dataset keeps of its archives. Only the holder of the lease may use it. Raises JobFailed, one line, for
    what is damaged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.list = read_state(store, LIST, ArchiveList) or ArchiveList()
        self._there = {name for name, _ in store.list(CONTENTS)}
        self._contents: dict[str, Contents] = {}

    def freeze(self, archives: ArchiveList) -> None:
        """Keeps a list that begins with the archives of the one before, in their groups."""
        before, now = ([(one.key, one.group) for one in which.archives] for which in (self.list, archives))
        assert now[: len(before)] == before
        self._store.write(LIST, msgspec.json.encode(archives))
        self.list = archives

    def contents(self, archive: ListedArchive) -> Contents | None:
        """What is known of an archive; None while nothing is."""
        name = _name(archive)
        if archive.key not in self._contents and name in self._there:
            found = read_state(self._store, name, Contents)
            if found is not None:
                self._contents[archive.key] = found
        return self._contents.get(archive.key)

    def learn(self, archive: ListedArchive, contents: Contents) -> None:
        if self.contents(archive) != contents:
            self._store.write(_name(archive), msgspec.json.encode(contents))
            self._contents[archive.key] = contents


def contents_of(archive: Archive) -> Contents:
    """What the dataset keeps of an archive that was read."""
    return Contents(
        members=list(archive.members), container=archive.container, size=archive.size, damage=archive.damage
    )


def findings(archive: ListedArchive, contents: Contents) -> str | None:
    """A line for the user about an archive that is not what it should be; None for one that is."""
    left = "what it lacks is left to the next source"
    if contents.given_up:
        return f"archive {archive.title} is given up: {contents.damage}; {left}"
    if contents.damage:
        before = counted(len(contents.members), "video")
        return f"archive {archive.title} is damaged: {contents.damage}; {before} before that; {left}"
    if not any(is_video(name) for name, _, _ in contents.members):
        files = [name for name, _, _ in contents.members]
        held = f"{counted(len(files), 'file')}, the first {files[0][-80:]!a}" if files else "it is empty"
        nested = "; an archive within an archive is not read" if any(map(is_archive, files)) else ""
        return f"archive {archive.title} holds no videos: {held}{nested}"
    return None


def as_archive(listed: ListedArchive, contents: Contents) -> Archive:
    """An archive that lies nowhere here, by which its clips are found."""
    names: Sequence[str] = listed.names
    parts = tuple(Path(listed.key) / str(number) / listed.title for number in range(len(names)))
    return Archive(parts, contents.size, tuple(contents.members), contents.damage, contents.container, None)


def _name(archive: ListedArchive) -> str:
    return f"{CONTENTS}/{archive.key}.json"
