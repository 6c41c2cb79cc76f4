"""Which of many files a clip means, by their names: how folders of videos, and archives of them, are read."""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import normalised, without_unknown_suffix, without_video_suffix
from kinetics_pipeline.records import Clip, clip_id


class VideoNames:
    """Relative paths of files, `/` between folders; found by the clip they hold.

    A clip is looked for as `{video_id}_{start:06d}_{end:06d}.*` (seconds, with any zeros before them and any decimals:
    `_10_20` and `_10.500_20.25` are times, too), then as the whole
    video `{video_id}.*`; or under the path that its annotation gives. Suffixes of videos come first, then unknown ones.
    Names are compared in one Unicode form (NFC). Only names that were given are ever found.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        videos: defaultdict[str, set[str]] = defaultdict(set)
        others: defaultdict[str, set[str]] = defaultdict(set)
        timed: defaultdict[str, set[str]] = defaultdict(set)
        for path in paths:
            stem = _stem(path)
            videos[stem].add(path)
            if (usual := _with_usual_times(stem)) not in (None, stem):
                timed[usual].add(path)
            root = without_unknown_suffix(path)
            if root is not None:
                others[_name(root)].add(path)
        self._by_stem = {stem: tuple(sorted(paths)) for stem, paths in videos.items()}
        self._timed_otherwise = {stem: tuple(sorted(paths)) for stem, paths in timed.items()}
        """Files whose names say their times in another way than `clip_id`, by the name that says them so."""
        self._of_unknown_suffix = {stem: tuple(sorted(paths)) for stem, paths in others.items()}
        self._length = sum(map(len, self._by_stem.values()))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self._by_stem.values())

    def find(self, clip: Clip) -> list[tuple[str, bool]]:
        """(path, whether it is trimmed to the clip): trimmed ones before whole ones, each kind in the order of its
        paths."""
        endings = _trimmed_endings(clip)
        if clip.path is not None:
            return [(path, _stem(path).endswith(endings)) for path in self._at(normalised(os.path.normpath(clip.path)))]
        video = normalised(clip.video_id)
        for names in (self._by_stem, self._of_unknown_suffix):
            trimmed = [(path, True) for ending in endings for path in names.get(video + ending, ())]
            if not trimmed and endings and names is self._by_stem:
                trimmed = [(path, True) for path in self._timed_otherwise.get(video + endings[0], ())]
            if found := trimmed + [(path, False) for path in names.get(video, ())]:
                return found
        return []

    def _at(self, wanted: str) -> list[str]:
        """The files that a path in an annotation means.

        Its suffix may be missing or be that of another container, and, where only one file ends with it, so may the
        folders above. The nearest reading that finds something counts.
        """
        root = without_video_suffix(wanted)
        stems = dict.fromkeys((_name(root), _name(wanted)))
        named = [p for stem in stems for p in self._by_stem.get(stem, ())]
        named += [p for stem in stems for p in self._of_unknown_suffix.get(stem, ()) if p not in named]
        exact = [p for p in named if normalised(p) == wanted]
        same_stem = [p for p in named if _roots(p) & {root, wanted}]
        below = [p for p in named if f"/{normalised(p)}".endswith(f"/{wanted}")]
        stem_below = [p for p in named if any(f"/{r}".endswith((f"/{root}", f"/{wanted}")) for r in _roots(p))]
        return exact or same_stem or _only_one(below) or _only_one(stem_below)


def require_apart(paths: Sequence[str], source: str) -> None:
    """Raises UserError for two files of one folder that only their suffixes, or the Unicode forms of their names, tell
    apart: nobody can say which of them is meant."""
    first: dict[str, str] = {}
    for path in paths:
        other = first.setdefault(normalised(without_video_suffix(path)), path)
        if other == path:
            continue
        differ = "how their accents are written (NFC, NFD)" if normalised(other) == normalised(path) else "their suffix"
        raise UserError(
            f"source {source!r} holds {_shown(other)} and {_shown(path)}, which differ only in {differ}; "
            "keep the one that is meant, or name it by its full path in the annotations"
        )


def other_suffix(asked: str | None, found: str) -> bool:
    """Whether the annotations name the file with the suffix of another container."""
    if asked is None or without_video_suffix(asked) == asked:
        return False
    return os.path.splitext(asked)[1].lower() != os.path.splitext(found)[1].lower()


def _only_one(paths: list[str]) -> list[str]:
    """The paths, where all are one name in one folder; else nothing."""
    return paths if len({normalised(without_video_suffix(path)) for path in paths}) == 1 else []


def _roots(path: str) -> set[str]:
    """The path without its suffix, whether that is a video's or unknown."""
    return {normalised(root) for root in (without_video_suffix(path), without_unknown_suffix(path)) if root is not None}


def _trimmed_endings(clip: Clip) -> tuple[str, ...]:
    """How the name of a file trimmed to the clip may end: whole seconds as six digits, or with three decimals."""
    if clip.time_start is None or clip.time_end is None:
        return ()
    named = clip_id("", clip.time_start, clip.time_end)
    return tuple(dict.fromkeys((named, f"_{clip.time_start:010.3f}_{clip.time_end:010.3f}")))


_TIMES = re.compile(r"(.+)_(\d{1,6}(?:\.\d{1,9})?)_(\d{1,6}(?:\.\d{1,9})?)")


def _with_usual_times(stem: str) -> str | None:
    """The stem with its times as `clip_id` writes them; None where it has none."""
    named = _TIMES.fullmatch(stem)
    if named is None or float(named[3]) <= float(named[2]):
        return None
    return clip_id(named[1], float(named[2]), float(named[3]))


def _stem(path: str) -> str:
    return _name(without_video_suffix(path))


def _name(path: str) -> str:
    return normalised(PurePosixPath(path).name)


def _shown(path: str) -> str:
    """Quoted; escaped where it is not ASCII, since two forms of one letter look the same."""
    return ascii(path)
