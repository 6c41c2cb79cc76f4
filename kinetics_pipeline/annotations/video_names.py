"""How rows name videos: by an id, or by a path whose file's name makes one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.annotations.rows import CONTROL, shown
from kinetics_pipeline.file_names import OTHER_SUFFIXES
from kinetics_pipeline.records import MAX_ID, VIDEO_ID


def check_names(videos: list[str | None], paths: list[str | None]) -> dict[int, str]:
    """What is wrong with the names of some rows, by their place. Writes paths in their shortest form, and None for
    whatever is wrong."""
    wrong: dict[int, str] = {}
    for place, path in enumerate(paths):
        if path is not None:
            paths[place], reason = _relative(path)
            if reason is not None:
                wrong[place], paths[place] = reason, None
    match = VIDEO_ID.fullmatch
    for place, video in enumerate(videos):
        if video is None:
            if paths[place] is None:
                wrong.setdefault(place, "no video id")
        elif match(video) is None or not video.strip("."):
            allowed = "1 to 128 of A-Z a-z 0-9 _ . -, and not dots alone"
            wrong.setdefault(place, f"video id {shown(video)}; allowed: {allowed}")
            videos[place] = None
    return wrong


def _relative(path: str) -> tuple[str, str | None]:
    """A path within the folder of a source, without `.` and doubled slashes, and what is wrong with it."""
    if CONTROL.search(path) or "\\" in path or "://" in path:
        return path, f"path {shown(path)}; allowed: a relative path with forward slashes"
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return path, f"path {shown(path)} leaves the source's folder; allowed: a relative path without .."
    if not pure.name:
        return path, f"path {shown(path)} names no file"
    if pure.suffix.lower() in OTHER_SUFFIXES:
        return path, f"path {shown(path)} names a {pure.suffix.lower()} file, which is not a video"
    return str(pure), None


def with_names(videos: pa.Array, paths: pa.Array) -> pa.Array:
    """The video ids, where a row has only a path made of the file's stem, other characters replaced by `_`.

    Where two files, or a file and a row's own id, share that id, all the files get a hash of their
    path, so that a video is called the same in whatever order the
    rows come.
    """
    if not videos.null_count:
        return videos
    unnamed = videos.is_null()
    of_unnamed = paths.filter(unnamed).to_pylist()
    stems = _stems(of_unnamed, set(videos.drop_null().to_pylist()))
    names = pa.array([stems[path] for path in of_unnamed], pa.string())
    return pc.replace_with_mask(videos, unnamed, names)


def _stems(paths: Sequence[str], taken: set[str]) -> dict[str, str]:
    stems = {path: re.sub(r"[^A-Za-z0-9_.-]", "_", PurePosixPath(path).stem) for path in set(paths)}
    shared: dict[str, int] = {}
    for stem in stems.values():
        shared[stem] = shared.get(stem, 0) + 1
    for path, stem in stems.items():
        if shared[stem] > 1 or stem in taken or len(stem) > MAX_ID or not stem.strip("."):
            digest = hashlib.sha256(path.encode()).hexdigest()[:10]
            stems[path] = f"{stem[: MAX_ID - 11]}-{digest}"
    return stems
