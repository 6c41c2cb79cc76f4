"""The folders of a build in the cache: downloads, finished clips, and what a process needs while it works."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.storage.cache import make_private

PROBES = 5
"""Times that a folder is made again which another node removed."""


@dataclass(frozen=True)
class CacheFolders:
    """The folders of one dataset's build in the cache, the same path on every node."""

    root: Path

    @classmethod
    def of(cls, cache: Path, dataset: str) -> CacheFolders:
        """`dataset` is whatever tells datasets that share a cache apart: URI and recipe."""
        return cls(cache.absolute() / hashlib.sha256(dataset.encode()).hexdigest()[:16])

    @classmethod
    def of_dataset(cls, cache: Path, dataset: Dataset) -> CacheFolders:
        """A dataset that was removed and begun again with other classes must not find the old one's clips."""
        return cls.of(cache, f"{dataset.store.uri}\n{dataset.recipe}\n{dataset.classes}")

    @property
    def raw(self) -> Path:
        """Downloads, by source and video; resumed by a later run."""
        return self.root / "raw"

    @property
    def spool(self) -> Path:
        """Finished clips, until their shard is committed."""
        return self.root / "spool"

    @property
    def scratch(self) -> Path:
        """What one process needs while it works; of no use to a later run."""
        return self.root / "scratch"

    @property
    def archives(self) -> Path:
        """Archives from afar, by key; resumed by a later run."""
        return self.root / "archives"

    def archive(self, key: str) -> Path:
        """The folder of one archive."""
        return self.archives / key

    def video(self, source: str, video_id: str) -> Path:
        """The folder of one video's downloads from one source."""
        return self.raw / hashlib.sha256(source.encode()).hexdigest()[:8] / f"v{video_id}"

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A new folder in `scratch`, removed on leaving."""
        folder = self.scratch / uuid.uuid4().hex
        make_private(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def bytes_used(self) -> int:
        """Bytes of all files below the root but the archives; files that vanish meanwhile do not count."""
        return _bytes_below(self.root, self.archives)

    def archive_bytes(self) -> int:
        """Bytes of the archives, whole ones and parts."""
        return _bytes_below(self.archives)

    def prepare(self) -> None:
        """Makes the folders, and shows that files can be written there. Raises UserError, one line, where they cannot,
        and WorkRemains where the disk is full."""
        try:
            for folder in (self.raw, self.spool, self.scratch):
                _probe(folder)
        except OSError as error:
            what = f"{self.root.parent}, which cannot be written: {error.strerror or error}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise WorkRemains(f"--cache is {what}; make room, or name another disk") from None
            raise UserError(f"--cache is {what}; allowed: a folder that every node can write") from None

    def clear(self) -> None:
        """Removes all of them."""
        shutil.rmtree(self.root, ignore_errors=True)

    def clear_unfinished(self) -> None:
        """Removes what a killed run left half-done, and prepares the folders. Raises as `prepare` does."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for path in self.spool.glob(".*.tmp"):
            path.unlink(missing_ok=True)
        self.prepare()

    def finished(self) -> list[Record]:
        """The records of the clips in the spool: finished by earlier runs, and in no shard yet."""
        spool = Spool(self.spool)
        return [found[0] for clip_id in spool.ids() if (found := spool.get(clip_id))]


def _bytes_below(root: Path, without: Path | None = None) -> int:
    total = 0
    for folder, folders, names in os.walk(root):  # unlike `rglob`, it passes over folders that vanish meanwhile
        if without is not None and without.parent == Path(folder) and without.name in folders:
            folders.remove(without.name)
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def _probe(folder: Path) -> None:
    """Makes the folder and writes a file in it. Another node that shares the disk may be removing what a killed run
    left there, this folder included: then it is made again. Raises OSError."""
    for left in reversed(range(PROBES)):
        try:
            make_private(folder)
            probe = folder / f".{uuid.uuid4().hex}.probe"
            probe.write_bytes(b"probe")
            probe.unlink()
            return
        except FileNotFoundError:
            if not left:
                raise
