"""Tars as WebDataset reads them: the members of a clip lie together, and have one name up to the first dot
(https://github.com/webdataset/webdataset)."""

from __future__ import annotations

import io
import json
import re
import tarfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.workflows.datasets.exports.clips import ClipWriter, ExportedClip, withdrawn_files

CLIPS = 1000
"""Clips of one tar: about a gigabyte of ten-second clips with a short side of 256. A fixed number, so that an export
that was stopped goes on with the same tars."""
TAR = re.compile(r"[a-z0-9_]+-\d{6}\.tar")


def write_tars(writer: ClipWriter, clips: Sequence[ExportedClip], to: Path, at: Callable[[int], None]) -> list[str]:
    """Writes `{split}-{number:06d}.tar` with `.mp4`, `.cls` (class number) and `.json` of each clip; the files' names.

    A tar that holds just these clips already stays; those that an earlier export wrote beyond them go, and those with
    clips that were withdrawn. `at` is told how many clips are written.
    """
    to.mkdir(parents=True, exist_ok=True)
    keys = keys_of(clips)
    written: list[str] = []
    done = 0
    for split in sorted({clip.split for clip in clips}):
        members = [(key, clip) for key, clip in zip(keys, clips, strict=True) if clip.split == split]
        for number, begin in enumerate(range(0, len(members), CLIPS)):
            group = members[begin : begin + CLIPS]
            path = to / f"{split}-{number:06d}.tar"
            if _keys_in(path) == [key for key, _ in group]:
                writer.made["there already"] += len(group)
            else:
                with new_file(path) as out, tarfile.open(fileobj=out, mode="w") as tar:
                    for added, (key, clip) in enumerate(group, done + 1):
                        _add(tar, writer, key, clip, to)
                        at(added)
            done += len(group)
            at(done)
            written.append(path.name)
    splits = {clip.split for clip in clips}
    withdrawn = {_key(clip_id) for clip_id, _ in withdrawn_files(writer.dataset)}
    for path in to.glob("*.tar"):
        if not TAR.fullmatch(path.name) or path.name in written:
            continue
        if path.name.rpartition("-")[0] in splits or withdrawn.intersection(_keys_in(path) or ()):
            path.unlink()
            writer.made["removed"] += 1
    return written


def keys_of(clips: Sequence[ExportedClip]) -> list[str]:
    """A name for each clip: its id, whose dots would end it as `_`, with a number where two would have the same."""
    ids = {clip.place.clip_id for clip in clips}
    taken: set[str] = set()
    keys = []
    for clip in clips:
        plain = key = _key(clip.place.clip_id)
        number = 1
        while key in taken or (key != clip.place.clip_id and key in ids):
            number += 1
            key = f"{plain}-{number}"
        taken.add(key)
        keys.append(key)
    return keys


def _key(clip_id: str) -> str:
    return clip_id.replace(".", "_")


def _add(tar: tarfile.TarFile, writer: ClipWriter, key: str, clip: ExportedClip, to: Path) -> None:
    scratch = to / f".{key}.{uuid.uuid4().hex[:8]}.mp4"
    try:
        writer.mp4(clip, scratch)
        with scratch.open("rb") as video:
            _member(tar, f"{key}.mp4", video, scratch.stat().st_size)
    finally:
        scratch.unlink(missing_ok=True)
    about = {**clip.about(), "split": clip.split, "label": clip.label}
    for suffix, text in (("cls", str(clip.place.label)), ("json", json.dumps(about, ensure_ascii=False))):
        data = text.encode()
        _member(tar, f"{key}.{suffix}", io.BytesIO(data), len(data))


def _member(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: the same clips give the same bytes
    info.size, info.mode = size, 0o644
    tar.addfile(info, content)


def _keys_in(path: Path) -> list[str] | None:
    """The names of the clips in a tar, in order; None where there is no whole one."""
    try:
        with tarfile.open(path, "r:") as tar:
            return list(_mp4s(tar))
    except (OSError, tarfile.TarError):
        return None


def _mp4s(tar: tarfile.TarFile) -> Iterator[str]:
    for member in tar:
        if member.name.endswith(".mp4"):
            yield member.name.removesuffix(".mp4")
