"""Videos in folders named after their classes, as torchvision, Hugging Face and Keras users have them:
`ROOT/{class}/video.mp4` or `ROOT/{split}/{class}/video.mp4`. The folders are the annotations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinetics_pipeline.annotations.checks import SPLIT_IN_NAME, split_in_name
from kinetics_pipeline.annotations.rows import Row
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.sources.local.folder import files_below

LAYOUTS = "CLASS/video.mp4 or SPLIT/CLASS/video.mp4"


@dataclass(frozen=True)
class ClassFolders:
    """What lies in a folder of class folders."""

    name: str
    sha256: str
    """The hash of the sorted paths: it changes when a video comes, goes or moves to another class."""
    rows: list[Row]
    """One for each video, in the order of the paths; their `line` is the path."""
    passed_over: int
    """Videos that lie in no class folder."""


def read_class_folders(root: Path) -> ClassFolders:
    """Raises UserError for a folder without videos in class folders, and for one that mixes both layouts."""
    paths = sorted(path for path in files_below(root)[0] if is_video(path))
    parts = {path: path.split("/") for path in paths}
    inside = {path: names for path, names in parts.items() if len(names) > 1}
    if not inside:
        raise UserError(
            f"annotations {root} is a folder without videos in class folders ({LAYOUTS}) and without UCF-101's "
            "(trainlist01.txt) or HMDB-51's (NAME_test_split1.txt) lists"
        )
    by_split = _is_by_split(root, list(inside.values()))
    rows = []
    for path, names in inside.items():
        label, split = (names[1], split_in_name(names[0])) if by_split else (names[0], None)
        rows.append(Row(path, None, path, label, None, None, split))
    digest = hashlib.sha256("".join(f"{path}\n" for path in inside).encode("utf-8", "surrogateescape")).hexdigest()
    return ClassFolders(root.resolve().name, digest, rows, len(paths) - len(inside))


def _is_by_split(root: Path, paths: Sequence[Sequence[str]]) -> bool:
    """Whether the folders at the top are splits: their names say one, and all their videos lie in folders below."""
    with_videos = {names[0] for names in paths if len(names) == 2}
    splits = {names[0] for names in paths if SPLIT_IN_NAME.search(names[0].lower())} - with_videos
    others = {names[0] for names in paths} - splits
    if splits and others:
        raise UserError(
            f"annotations {root} holds folders of splits ({min(splits)}) beside folders of classes ({min(others)}); "
            f"allowed: {LAYOUTS}"
        )
    return bool(splits)
