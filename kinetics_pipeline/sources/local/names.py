"""Which of many files a clip means, by their names: how folders of videos, and archives of them, are read."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from kinetics_pipeline.records import Clip, clip_id

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".flv", ".wmv",
    ".asf", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".ogv", ".ogg",
    ".ogm", ".mxf", ".nut", ".dv", ".rm", ".rmvb", ".gif", ".ivf", ".y4m", ".wtv", ".amv", ".nsv", ".h264",
    ".264", ".h265", ".265", ".hevc", ".obu", ".mjpeg", ".mjpg",
))
# fmt: on
UNFINISHED = frozenset({".part", ".tmp", ".temp", ".ytdl", ".crdownload", ".download", ".partial", ".aria2"})


def is_passed_over(name: str) -> bool:
    """Hidden files, and those that a download has not finished."""
    return name.startswith(".") or os.path.splitext(name)[1].lower() in UNFINISHED


def is_video(name: str) -> bool:
    """Whether the name ends as a video's."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


class VideoNames:
    """Relative paths of files, `/` between folders; found by the clip they hold.

    A clip is looked for as `{video_id}_{start:06d}_{end:06d}.*` (seconds, also with three decimals), then as the whole
    video `{video_id}.*`; or under the path that its annotation gives. Only names that were given are ever found.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for path in paths:
            found[_stem(path)].add(path)
        self._by_stem = {stem: tuple(sorted(paths)) for stem, paths in found.items()}

    def __len__(self) -> int:
        return sum(map(len, self._by_stem.values()))

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self._by_stem.values())

    def find(self, clip: Clip) -> list[tuple[str, bool]]:
        """(path, whether it is trimmed to the clip): trimmed ones before whole ones, each kind in the order of its
        paths."""
        endings = _trimmed_endings(clip)
        if clip.path is not None:
            return [(path, _stem(path).endswith(endings)) for path in self._at(clip.path)]
        trimmed = [(p, True) for ending in endings for p in self._by_stem.get(clip.video_id + ending, ())]
        return trimmed + [(p, False) for p in self._by_stem.get(clip.video_id, ())]

    def _at(self, path: str) -> list[str]:
        """The files that a path in an annotation means: it may leave out the suffix, and, where only one file ends
        with it, the folders above."""
        wanted = os.path.normpath(path)
        stems = dict.fromkeys((_stem(wanted), PurePosixPath(wanted).name))
        found = [p for stem in stems for p in self._by_stem.get(stem, ())]
        exact = [p for p in found if wanted in (p, _without_suffix(p))]
        below = [p for p in found if f"/{p}".endswith(f"/{wanted}")]
        return exact or (below if len(below) == 1 else [])


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
