"""The clips of a dataset as an export writes them: a place and a name for each, as a folder of JPEGs or an mp4."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.selection import select
from kinetics_pipeline.loading.shard_reader import Place, ShardReader
from kinetics_pipeline.shards.clip_rows import all_images
from kinetics_pipeline.shards.layouts.base import StoredImages
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.video.ffmpeg import environment, executable

FRAME_QUALITY = 95
"""JPEG quality of frames that the shard holds otherwise."""
FLOW_QUALITY = 95
"""JPEG quality of the two flow pictures, which are encoded again: the shard holds them as one."""


@dataclass(frozen=True)
class ExportedClip:
    place: Place
    video_id: str
    time_start: float | None
    """Seconds of the video; None for a whole one."""
    time_end: float | None
    label: str | None
    split: str
    relative: str
    """Its place below the export's folder, without a suffix."""

    def about(self) -> dict[str, Any]:
        """What the clip is, for readers of the export."""
        return {
            "clip_id": self.place.clip_id,
            "video_id": self.video_id,
            "time_start": self.time_start,
            "time_end": self.time_end,
        }


class ClipWriter:
    """Writes clips, and counts how each came about."""

    def __init__(self, dataset: Dataset, kept_at: str | None) -> None:
        """`kept_at`: the place of segments that are copied. Raises UserError for one that is not a folder."""
        self.dataset, self.made = dataset, Counter[str]()
        self._reader = ShardReader(dataset.store, dataset.recipe)
        self._kept = open_store(kept_at) if kept_at is not None else None
        if self._kept is not None and (folder := self._kept.local_path("")) is not None and not folder.is_dir():
            raise UserError(f"--kept names {self._kept.uri}, which is not a folder; allowed: what --keep-clips filled")
        self._names = frozenset(name for name, _ in self._kept.list()) if self._kept is not None else frozenset()

    @property
    def looked_for_segments(self) -> bool:
        return self._kept is not None

    def mp4(self, clip: ExportedClip, path: Path) -> None:
        """The kept segment, the shard's own H.264, or its frames encoded. Raises JobFailed when ffmpeg fails."""
        if self._kept is not None and f"{clip.split}/{clip.place.clip_id}.mp4" in self._names:
            _copy(self._kept, clip, path)
            self.made["copied"] += 1
        else:
            self.made[_to_mp4(self.dataset, self._reader, clip, path)] += 1

    def frames(self, clip: ExportedClip, folder: Path) -> None:
        _write_frames(self.dataset, self._reader, clip, folder)


def exported_clips(dataset: Dataset, split: str | None, ids: Path | None) -> Iterator[ExportedClip]:
    """The clips in the order of the shards."""
    folders = folders_of(dataset.classes)
    for row in select(load_index(dataset), dataset, split, None, ids, None).to_pylist():
        relative = f"{row['split']}/{folders[row['class']]}/{row['clip_id']}"
        yield ExportedClip(
            Place.of(row),
            row["video_id"],
            row["time_start"],
            row["time_end"],
            row["label"],
            row["split"],
            relative,
        )


def withdrawn_files(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """The id of each clip that was withdrawn, and where an earlier export wrote it: as `ExportedClip.relative`."""
    folders, numbers = folders_of(dataset.classes), {label: number for number, label in enumerate(dataset.classes)}
    for stone in dataset.tombstones():
        for held in stone.held:
            folder = folders[numbers.get(held["label"], -1)]
            yield held["clip_id"], f"{held['split']}/{folder}/{held['clip_id']}"


def folders_of(classes: Sequence[str]) -> dict[int, str]:
    """A folder for each class number. Labels are anyone's text: quotes and parentheses go, as torchvision has it, what
    else is not a plain word becomes `_`, and the number tells those apart that then look alike."""
    plain = [
        re.sub(r"[^A-Za-z0-9-]+", "_", re.sub(r"['()]", "", label)).strip("_")[:60] or "class" for label in classes
    ]
    lower = [name.lower() for name in plain]
    named = {
        number: name if lower.count(name.lower()) == 1 else f"{name}_{number:03d}" for number, name in enumerate(plain)
    }
    return {**named, -1: "unlabelled"}


def _write_frames(dataset: Dataset, reader: ShardReader, clip: ExportedClip, folder: Path) -> None:
    """The clip's folder, which appears when it is whole."""
    streams = ["rgb"] if dataset.recipe.flow == "none" else ["rgb", "flow"]
    scratch = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    scratch.mkdir(parents=True)
    for chunk, first in enumerate(range(0, clip.place.frames, dataset.recipe.chunk_length)):
        images = reader.images(clip.place, [chunk], streams)
        with reader.damage_named(clip.place, chunk):
            for number, image in enumerate(images["rgb"][0].jpegs(FRAME_QUALITY), first + 1):
                (scratch / f"img_{number:05d}.jpg").write_bytes(image)
        with reader.damage_named(clip.place, chunk, "flow"):
            for stored in images.get("flow", ()):
                _write_flow(stored, clip, first, scratch)
    os.replace(scratch, folder)


def _write_flow(stored: StoredImages, clip: ExportedClip, first: int, folder: Path) -> None:
    """The two pictures of each field, +-20 px as 1 to 255: denseflow's scale with its bound at 20."""
    for number, fields in enumerate(all_images(stored, "flow", clip.place.height, clip.place.width), first + 1):
        for axis, field in zip("xy", fields, strict=True):
            data = simplejpeg.encode_jpeg(
                np.ascontiguousarray(field)[..., None],
                quality=FLOW_QUALITY,
                colorspace="GRAY",
                colorsubsampling="Gray",
            )
            (folder / f"flow_{axis}_{number:05d}.jpg").write_bytes(data)


def _frames(dataset: Dataset, reader: ShardReader, clip: ExportedClip) -> Iterator[bytes]:
    """The clip's RGB frames, uint8 [H, W, 3] each. Raises DamagedShard."""
    for chunk, stored in _rgb(dataset, reader, clip):
        with reader.damage_named(clip.place, chunk):
            yield from (frame.tobytes() for frame in all_images(stored, "rgb", clip.place.height, clip.place.width))


def _strings(dataset: Dataset, reader: ShardReader, clip: ExportedClip) -> Iterator[bytes]:
    """The clip's H.264 as it is stored: whole chunks, each of which begins with a key frame. Raises DamagedShard."""
    for chunk, stored in _rgb(dataset, reader, clip):
        with reader.damage_named(clip.place, chunk):
            yield stored.h264() or b""


def _rgb(dataset: Dataset, reader: ShardReader, clip: ExportedClip) -> Iterator[tuple[int, StoredImages]]:
    for chunk in range(-(-clip.place.frames // dataset.recipe.chunk_length)):
        yield chunk, reader.images(clip.place, [chunk], ["rgb"])["rgb"][0]


def _copy(kept: Store, clip: ExportedClip, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as out:
        out.write(kept.read(f"{clip.split}/{clip.place.clip_id}.mp4"))


def _to_mp4(dataset: Dataset, reader: ShardReader, clip: ExportedClip, path: Path) -> str:
    """Writes the clip's frames as mp4, and says how: the shard's own H.264 `as stored`, else `encoded`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.mp4")
    stored = dataset.recipe.layout == "video"
    fps = f"{dataset.recipe.fps:g}"
    line = [executable(), "-hide_banner", "-v", "error", "-y"]
    if stored:
        line += ["-f", "h264", "-framerate", fps, "-i", "-", "-c", "copy"]
    else:
        line += [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{clip.place.width}x{clip.place.height}",
            "-r",
            fps,
            "-i",
            "-",
        ]
        line += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-crf", "18", "-preset", "veryfast"]
        line += ["-pix_fmt", "yuv420p", "-threads", "1"]
    line += ["-movflags", "+faststart", f"file:{scratch}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stderr=pipe, env=environment()) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            for data in _strings(dataset, reader, clip) if stored else _frames(dataset, reader, clip):
                process.stdin.write(data)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why on stderr
        log = process.stderr.read().decode("utf-8", "replace").strip()
    if process.returncode != 0:
        scratch.unlink(missing_ok=True)
        raise JobFailed(f"{clip.place.clip_id} could not be encoded: {log.splitlines()[-1] if log else 'no reason'}")
    scratch.replace(path)
    return "as stored" if stored else "encoded"
