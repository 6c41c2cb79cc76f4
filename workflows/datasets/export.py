"""`tools export`: the clips of a dataset as files that other programs train from, with the lists they read.

`frames` lays a clip out as denseflow does and mmaction2 reads it: a folder with `img_00001.jpg`, `flow_x_00001.jpg`,
`flow_y_00001.jpg` and so on. `mp4` takes the segments that `build --keep-clips` kept, and encodes those that were not
kept from the shard's frames; in the video layout they are H.264 already, and are taken as they are. The lists are
mmaction2's (`PATH LABEL`, `FOLDER FRAMES LABEL`) and SlowFast's (`PATH LABEL` as csv).
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import simplejpeg
from rich.console import Console

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.selection import select
from kinetics_pipeline.loading.shard_reader import Place, ShardReader
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.shards.clip_rows import all_images
from kinetics_pipeline.shards.layouts.base import StoredImages
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store, one_line_errors
from kinetics_pipeline.video.ffmpeg import environment, executable
from kinetics_pipeline.workflows.building.state import last_run
from kinetics_pipeline.workflows.runtime.progress import Meter

FRAME_QUALITY = 95
"""JPEG quality of frames that the shard holds otherwise."""
FLOW_QUALITY = 95
"""JPEG quality of the two flow pictures, which are encoded again: the shard holds them as one."""


@dataclass(frozen=True)
class _Clip:
    place: Place
    split: str
    frames: int
    height: int
    width: int
    relative: str
    """Its place below the export's folder, without a suffix."""


def export(
    uri: str,
    form: Literal["mp4", "frames"],
    to: Path,
    split: str | None,
    kept_at: str | None,
    ids: Path | None = None,
) -> None:
    """Writes the clips that are ok, and their lists, below `to`; a clip that is there already is not made again.

    `ids`: a file of clip ids, of which only these are written. `kept_at`: what `--keep-clips` filled: never a place
    that only the dataset names. Raises UserError for what there is not, JobFailed for a damaged shard and when ffmpeg
    fails.
    """
    dataset = Dataset.open(uri)
    if to.exists() and not to.is_dir():
        raise UserError(f"--to is {to}, which is a file; allowed: a folder")
    clips = list(_clips(dataset, split, ids))
    reader = ShardReader(dataset.store, dataset.recipe)
    kept = open_store(kept_at) if form == "mp4" and kept_at is not None else None
    if kept is not None and (folder := kept.local_path("")) is not None and not folder.is_dir():
        raise UserError(f"--kept names {kept.uri}, which is not a folder; allowed: what --keep-clips filled")
    names = frozenset(name for name, _ in kept.list()) if kept is not None else frozenset()
    made: Counter[str] = Counter()
    with one_line_errors(f"write to {to}"), Meter(len(clips), "clips") as meter:
        for number, clip in enumerate(clips, 1):
            path = to / clip.relative if form == "frames" else to / f"{clip.relative}.mp4"
            if path.is_dir() if form == "frames" else path.exists():
                made["there already"] += 1
            elif form == "frames":
                _write_frames(dataset, reader, clip, path)
            elif kept is not None and f"{clip.split}/{clip.place.clip_id}.mp4" in names:
                _copy(kept, clip, path)
                made["copied"] += 1
            else:
                made[_to_mp4(dataset, reader, clip, path)] += 1
            meter.at(number)
        lists = _write_lists(to, form, clips)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in _said(made, dataset, kept is not None):
        console.print(line)
    console.print(f"{len(clips)} clips in {to}; lists: {', '.join(lists)}")


def _said(made: Counter[str], dataset: Dataset, looked_for_segments: bool) -> Iterator[str]:
    """What the files of this export are, a line each."""
    recipe = dataset.recipe
    if made["there already"]:
        yield f"{made['there already']} clips were there already and were left as they are"
    if made["copied"]:
        yield f"{made['copied']} mp4 are segments of the sources, as --keep-clips kept them"
    how = f"{recipe.fps:g} fps, short side {recipe.short_side}, no sound"
    if made["encoded"]:
        yield f"{made['encoded']} mp4 were encoded from the shards' frames: {how}"
    if made["as stored"]:
        yield f"{made['as stored']} mp4 are the shards' own H.264, not encoded again: {how}"
    if made["encoded"] or made["as stored"]:
        place = None if looked_for_segments else _kept_by_the_last_build(dataset)
        if place:
            yield f"its last build kept segments in {visible(place)}; to copy them into an empty folder: --kept PLACE"


def _kept_by_the_last_build(dataset: Dataset) -> str | None:
    with suppress(JobFailed):  # what the last build left behind is damaged; the clips are not
        run = last_run(dataset.store)
        return str(run.config.get("keep_clips") or "") if run is not None else None
    return None


def _clips(dataset: Dataset, split: str | None, ids: Path | None) -> Iterator[_Clip]:
    """The clips in the order of the shards."""
    folders = _folders(dataset.classes)
    for row in select(load_index(dataset), dataset, split, None, ids, None).to_pylist():
        place = Place(
            row["shard"],
            row["clip_id"],
            row["class"],
            row["first_row"],
            row["position"],
            row["frames"],
            row["height"],
            row["width"],
        )
        relative = f"{row['split']}/{folders[row['class']]}/{row['clip_id']}"
        yield _Clip(place, row["split"], row["frames"], row["height"], row["width"], relative)


def _folders(classes: Sequence[str]) -> dict[int, str]:
    """A folder for each class number. Labels are anyone's text: what is not a plain word becomes `_`, and the number
    tells those apart that then look alike."""
    plain = [re.sub(r"[^A-Za-z0-9-]+", "_", label).strip("_")[:60] or "class" for label in classes]
    lower = [name.lower() for name in plain]
    named = {
        number: name if lower.count(name.lower()) == 1 else f"{name}_{number:03d}" for number, name in enumerate(plain)
    }
    return {**named, -1: "unlabelled"}


def _write_frames(dataset: Dataset, reader: ShardReader, clip: _Clip, folder: Path) -> None:
    """The clip's folder, which appears when it is whole."""
    streams = ["rgb"] if dataset.recipe.flow == "none" else ["rgb", "flow"]
    scratch = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    scratch.mkdir(parents=True)
    for chunk, first in enumerate(range(0, clip.frames, dataset.recipe.chunk_length)):
        images = reader.images(clip.place, [chunk], streams)
        with reader.damage_named(clip.place, chunk):
            for number, image in enumerate(images["rgb"][0].jpegs(FRAME_QUALITY), first + 1):
                (scratch / f"img_{number:05d}.jpg").write_bytes(image)
            for stored in images.get("flow", ()):
                _write_flow(stored, clip, first, scratch)
    os.replace(scratch, folder)


def _write_flow(stored: StoredImages, clip: _Clip, first: int, folder: Path) -> None:
    """The two pictures of each field, +-20 px as 1 to 255: denseflow's scale with its bound at 20."""
    for number, fields in enumerate(all_images(stored, "flow", clip.height, clip.width), first + 1):
        for axis, field in zip("xy", fields, strict=True):
            data = simplejpeg.encode_jpeg(
                np.ascontiguousarray(field)[..., None],
                quality=FLOW_QUALITY,
                colorspace="GRAY",
                colorsubsampling="Gray",
            )
            (folder / f"flow_{axis}_{number:05d}.jpg").write_bytes(data)


def _frames(dataset: Dataset, reader: ShardReader, clip: _Clip) -> Iterator[bytes]:
    """The clip's RGB frames, uint8 [H, W, 3] each. Raises DamagedShard."""
    for chunk, stored in _rgb(dataset, reader, clip):
        with reader.damage_named(clip.place, chunk):
            yield from (frame.tobytes() for frame in all_images(stored, "rgb", clip.height, clip.width))


def _strings(dataset: Dataset, reader: ShardReader, clip: _Clip) -> Iterator[bytes]:
    """The clip's H.264 as it is stored: whole chunks, each of which begins with a key frame. Raises DamagedShard."""
    for chunk, stored in _rgb(dataset, reader, clip):
        with reader.damage_named(clip.place, chunk):
            yield stored.h264() or b""


def _rgb(dataset: Dataset, reader: ShardReader, clip: _Clip) -> Iterator[tuple[int, StoredImages]]:
    for chunk in range(-(-clip.frames // dataset.recipe.chunk_length)):
        yield chunk, reader.images(clip.place, [chunk], ["rgb"])["rgb"][0]


def _copy(kept: Store, clip: _Clip, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as out:
        out.write(kept.read(f"{clip.split}/{clip.place.clip_id}.mp4"))


def _to_mp4(dataset: Dataset, reader: ShardReader, clip: _Clip, path: Path) -> str:
    """Writes the clip's frames as mp4, and says how: the shard's own H.264 `as stored`, else `encoded`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.mp4")
    stored = dataset.recipe.layout == "video"
    fps = f"{dataset.recipe.fps:g}"
    line = [executable(), "-hide_banner", "-v", "error", "-y"]
    if stored:
        line += ["-f", "h264", "-framerate", fps, "-i", "-", "-c", "copy"]
    else:
        line += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{clip.width}x{clip.height}", "-r", fps, "-i", "-"]
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


def _write_lists(to: Path, form: str, clips: Sequence[_Clip]) -> list[str]:
    """The lists of each split; their paths are relative to the export's folder. The names of the files."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.relative):
        if form == "frames":
            lines[f"mmaction2_{clip.split}_rawframes.txt"].append(f"{clip.relative} {clip.frames} {clip.place.label}")
        else:
            lines[f"mmaction2_{clip.split}_videos.txt"].append(f"{clip.relative}.mp4 {clip.place.label}")
            lines[f"slowfast_{clip.split}.csv"].append(f"{clip.relative}.mp4 {clip.place.label}")
    for name, rows in lines.items():
        (to / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return sorted(lines)
