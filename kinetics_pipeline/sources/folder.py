"""A folder of videos: files trimmed to a clip, whole videos, and files that the annotations name by path."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Media

log = logging.getLogger(__name__)

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".flv", ".wmv",
    ".asf", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".ogv", ".ogg",
    ".ogm", ".mxf", ".nut", ".dv", ".rm", ".rmvb", ".gif", ".ivf", ".y4m", ".wtv", ".amv", ".nsv", ".h264",
    ".264", ".h265", ".265", ".hevc", ".obu", ".mjpeg", ".mjpg",
))
# fmt: on
UNFINISHED = frozenset({".part", ".tmp", ".temp", ".ytdl", ".crdownload", ".download", ".partial", ".aria2"})


class FolderSource:
    """The videos below a folder, at any depth; a `LocalSource`.

    A clip is looked for as `{video_id}_{start:06d}_{end:06d}.*` (seconds, also with three decimals), then as the whole
    video `{video_id}.*`; or under the path that its annotation gives. The folder is read once, here. Links to other
    folders are followed, each folder being entered once; hidden and unfinished files are passed over. Only files that
    were found in this way are ever returned, so no path in an annotation leads out of the folder.
    """

    def __init__(self, root: str | os.PathLike[str], name: str | None = None) -> None:
        """Raises UserError when `root` is not a folder that can be read. `name` is what records call this source, by
        default the folder's own name: its path may tell whose machine it was."""
        self.root = Path(os.path.abspath(root))
        self.name = name or self.root.name or "folder"
        self.unreadable: list[str] = []
        """Folders below `root` that could not be read, relative to it."""
        if not self.root.is_dir():
            raise UserError(f"source {str(root)!r} is not a folder; allowed: a folder of videos")
        self._by_stem = self._read_folder()
        if "." in self.unreadable:
            raise UserError(f"source {str(root)!r} may not be read; allowed: a folder with read permission")
        for folder in self.unreadable:
            log.warning("folder %r of source %r may not be read: its videos are left out", folder, self.name)

    def __len__(self) -> int:
        """The number of files found."""
        return sum(map(len, self._by_stem.values()))

    def candidates(self, clip: Clip) -> list[Media]:
        """The files that may hold the clip: trimmed ones before whole ones, each kind in the order of its paths."""
        endings = _trimmed_endings(clip)
        if clip.path is not None:
            return [self._media(p, clip, trimmed=_stem(p).endswith(endings)) for p in self._at(clip.path)]
        trimmed = [p for ending in endings for p in self._by_stem.get(clip.video_id + ending, ())]
        return [self._media(p, clip, trimmed=True) for p in trimmed] + [
            self._media(p, clip, trimmed=False) for p in self._by_stem.get(clip.video_id, ())
        ]

    def _at(self, path: str) -> list[str]:
        """The files that a path in an annotation means: it may leave out the suffix, and, where only one file ends
        with it, the folders above."""
        wanted = os.path.normpath(path)
        stems = dict.fromkeys((_stem(wanted), PurePosixPath(wanted).name))
        found = [p for stem in stems for p in self._by_stem.get(stem, ())]
        exact = [p for p in found if wanted in (p, _without_suffix(p))]
        below = [p for p in found if f"/{p}".endswith(f"/{wanted}")]
        return exact or (below if len(below) == 1 else [])

    def _media(self, path: str, clip: Clip, *, trimmed: bool) -> Media:
        return Media(self.root / path, self.name, offset=(clip.time_start or 0.0) if trimmed else 0.0)

    def _read_folder(self) -> dict[str, tuple[str, ...]]:
        """The paths of all files, relative to the root, by their names without the suffix of a video."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        entered: set[tuple[int, int]] = set()
        waiting = ["."]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(self.root / folder)
                with os.scandir(self.root / folder) as entries:
                    names = sorted(entries, key=lambda e: e.name, reverse=True)
            except OSError:
                self.unreadable.append(folder)
                continue
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            for entry in names:
                path = entry.name if folder == "." else f"{folder}/{entry.name}"
                if entry.name.startswith(".") or os.path.splitext(entry.name)[1].lower() in UNFINISHED:
                    continue
                if _is(entry, "dir"):
                    waiting.append(path)
                elif _is(entry, "file"):
                    found[_stem(path)].append(path)
        return {stem: tuple(sorted(paths)) for stem, paths in found.items()}


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    """What an entry is, links followed; nothing when it is a link that leads in a circle or to a forbidden place."""
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:
        return False


def _trimmed_endings(clip: Clip) -> tuple[str, ...]:
    """How the name of a file trimmed to the clip may end: whole seconds as six digits, or with three decimals."""
    if clip.time_start is None or clip.time_end is None:
        return ()
    named = clip_id("", clip.time_start, clip.time_end)
    return tuple(dict.fromkeys((named, f"_{clip.time_start:010.3f}_{clip.time_end:010.3f}")))


def _without_suffix(path: str) -> str:
    """The path without the suffix of a video; other dots belong to the name, as in `abc_000001.500_000003`."""
    root, suffix = os.path.splitext(path)
    return root if suffix.lower() in VIDEO_SUFFIXES else path


def _stem(path: str) -> str:
    return _without_suffix(path).rpartition("/")[2]
