"""A folder of videos: files trimmed to a clip, whole videos, and files that the annotations name by path."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import ClassVar

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_passed_over, is_video
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.sources.local.names import VideoNames, require_apart

log = logging.getLogger(__name__)


class FolderSource:
    """The videos below a folder, at any depth; a `LocalSource`.

    How a clip's files must be named says `VideoNames`. The folder is read once, here. Links to other folders are
    followed, each folder being entered once; hidden and unfinished files are passed over. Only files that were found
    in this way are ever returned, so no path in an annotation leads out of the folder.
    """

    on_network: ClassVar[bool] = False

    def __init__(self, root: str | os.PathLike[str], name: str | None = None) -> None:
        """Raises UserError when `root` is not a folder that can be read. `name` is what records call this source, by
        default the folder's own name: its path may tell whose machine it was."""
        self.root = Path(os.path.abspath(root))
        self.name = name or self.root.name or "folder"
        if not self.root.is_dir():
            raise UserError(f"source {str(root)!r} is not a folder; allowed: a folder of videos")
        paths, self.unreadable = files_below(self.root)
        self._names = VideoNames(paths)
        if "." in self.unreadable:
            raise UserError(f"source {str(root)!r} may not be read; allowed: a folder with read permission")
        for folder in self.unreadable:
            log.warning("folder %r of source %r may not be read: its videos are left out", folder, self.name)

    def __len__(self) -> int:
        """The number of files found."""
        return len(self._names)

    def holds_videos(self) -> bool:
        """Whether any file's name ends as a video's."""
        return any(is_video(path) for path in self._names)

    def candidates(self, clip: Clip) -> list[Media]:
        """The files that may hold the clip: trimmed ones before whole ones, each kind in the order of its paths.

        Raises UserError for two files that only their suffixes or Unicode forms tell apart.
        """
        found = self._names.find(clip) if len(self._names) else []
        require_apart([path for path, _ in found], self.name)
        return [self._media(path, clip, trimmed=trimmed) for path, trimmed in found]

    def _media(self, path: str, clip: Clip, *, trimmed: bool) -> Media:
        return Media(self.root / path, self.name, offset=(clip.time_start or 0.0) if trimmed else 0.0)


def files_below(root: Path) -> tuple[list[str], list[str]]:
    """The paths of all files below a folder, relative to it, and of the folders that may not be read.

    Links to other folders are followed, each folder being entered once; hidden and unfinished files are passed over.
    """
    found: list[str] = []
    unreadable: list[str] = []
    entered: set[tuple[int, int]] = set()
    waiting = ["."]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(root / folder)
            with os.scandir(root / folder) as entries:
                names = sorted(entries, key=lambda e: e.name, reverse=True)
        except OSError:
            unreadable.append(folder)
            continue
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in names:
            path = entry.name if folder == "." else f"{folder}/{entry.name}"
            if is_passed_over(entry.name):
                continue
            if _is(entry, "dir"):
                waiting.append(path)
            elif _is(entry, "file"):
                found.append(path)
    return found, unreadable


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    """What an entry is, links followed; nothing when it is a link that leads in a circle or to a forbidden place."""
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:
        return False
