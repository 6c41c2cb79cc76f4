"""`tools export`: the clips of a dataset as files that other programs train from, with the lists they read.

`frames` lays a clip out as denseflow does and mmaction2 reads it: a folder with `img_00001.jpg`, `flow_x_00001.jpg`,
`flow_y_00001.jpg` and so on. `mp4` takes the segments that `build --keep-clips` kept, and encodes those that were not
kept from the shard's frames (the video layout has H.264 to copy); its folders are those of torchvision's `Kinetics`.
The lists are mmaction2's (`PATH LABEL`, `FOLDER FRAMES LABEL`) and SlowFast's (`PATH LABEL` as csv).
`webdataset` puts the same mp4 into tars, `huggingface` beside a dataset card. `croissant` describes the dataset as it
is, for searches and loaders.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from rich.console import Console

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.storage.store import one_line_errors
from kinetics_pipeline.workflows.building.reconciliation import terms_of
from kinetics_pipeline.workflows.building.state import last_run
from kinetics_pipeline.workflows.datasets.exports.clips import ClipWriter, ExportedClip, exported_clips, withdrawn_files
from kinetics_pipeline.workflows.datasets.exports.croissant import write_croissant
from kinetics_pipeline.workflows.datasets.exports.hub import write_card, write_metadata
from kinetics_pipeline.workflows.datasets.exports.tars import write_tars
from kinetics_pipeline.workflows.runtime.progress import Meter

Format = Literal["mp4", "frames", "webdataset", "huggingface", "croissant"]
MOST_FILES, MOST_FILES_OF_A_FOLDER = 100_000, 10_000
"""Clips up to which Hugging Face's form has a file for each (https://huggingface.co/docs/hub/storage-limits); more
come as tars."""


def export(
    uri: str,
    form: Format,
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
    if form == "croissant":
        _describe(dataset, to, chosen=split is not None or ids is not None)
        return
    clips = list(exported_clips(dataset, split, ids))
    writer = ClipWriter(dataset, kept_at if form != "frames" else None)
    in_tars = form == "webdataset" or (form == "huggingface" and are_many(clips))
    with one_line_errors(f"write to {to}"), Meter(len(clips), "clips") as meter:
        if in_tars:
            written = write_tars(writer, clips, to, meter.at)
        else:
            _write_files(writer, clips, to, meter, frames=form == "frames")
            written = [] if form == "huggingface" else _write_lists(to, form, clips)
        if form == "huggingface":
            files = [] if in_tars else write_metadata(dataset, to, clips)
            written = [*files, write_card(dataset, clips, to, terms_of(dataset), in_tars=in_tars)]
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in _said(writer):
        console.print(line)
    if form == "mp4" and (others := _numbered_otherwise(dataset, clips)):
        console.print(
            f"torchvision numbers classes by the folders of a split: not as the dataset in {', '.join(others)}"
        )
    named = ", ".join(written) if len(written) <= 8 else f"{written[0]} to {written[-1]}"
    console.print(f"{counted(len(clips), 'clip')} in {to}; {'files' if in_tars else 'lists'}: {named}")


def are_many(clips: Sequence[ExportedClip]) -> bool:
    """Whether there are more than a repository of Hugging Face may have files, in all or in a folder."""
    folders = Counter(clip.relative.rpartition("/")[0] for clip in clips)
    return len(clips) > MOST_FILES or any(count > MOST_FILES_OF_A_FOLDER for count in folders.values())


def _describe(dataset: Dataset, to: Path, *, chosen: bool) -> None:
    """Croissant's description, of the shards as they are."""
    if chosen:
        raise UserError("--format croissant describes the whole dataset; allowed: without --split and --ids")
    with one_line_errors(f"write to {to}"):
        to.mkdir(parents=True, exist_ok=True)
        (name,) = write_croissant(dataset, to, terms_of(dataset))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{to / name} describes {visible(dataset.store.uri)}: it belongs into that folder, beside shards/")


def _write_files(writer: ClipWriter, clips: Sequence[ExportedClip], to: Path, meter: Meter, *, frames: bool) -> None:
    for number, clip in enumerate(clips, 1):
        path = to / clip.relative if frames else to / f"{clip.relative}.mp4"
        if path.is_dir() if frames else path.exists():
            writer.made["there already"] += 1
        elif frames:
            writer.frames(clip, path)
        else:
            writer.mp4(clip, path)
        meter.at(number)
    for _, relative in withdrawn_files(writer.dataset):
        path = to / relative if frames else to / f"{relative}.mp4"
        if path.exists():
            shutil.rmtree(path) if frames else path.unlink()
            writer.made["withdrawn"] += 1


def _said(writer: ClipWriter) -> Iterator[str]:
    """What the files of this export are, a line each."""
    made, dataset, recipe = writer.made, writer.dataset, writer.dataset.recipe
    if made["there already"]:
        yield counted(
            made["there already"],
            "clip was there already and was left as it is",
            "clips were there already and were left as they are",
        )
    if made["withdrawn"]:
        yield f"{counted(made['withdrawn'], 'withdrawn clip')} of an earlier export: removed"
    if made["removed"]:
        tars = counted(made["removed"], "tar of an earlier export was", "tars of an earlier export were")
        yield f"{tars} removed: there are fewer clips now"
    if made["copied"]:
        yield f"{made['copied']} mp4 are segments of the sources, as --keep-clips kept them"
    how = f"{recipe.fps:g} fps, short side {recipe.short_side}, no sound"
    if made["encoded"]:
        yield f"{made['encoded']} mp4 were encoded from the shards' frames: {how}"
    if made["as stored"]:
        yield f"{made['as stored']} mp4 are the shards' own H.264, not encoded again: {how}"
    if made["encoded"] or made["as stored"]:
        place = None if writer.looked_for_segments else _kept_by_the_last_build(dataset)
        if place:
            yield f"its last build kept segments in {visible(place)}; to copy them into an empty folder: --kept PLACE"


def _kept_by_the_last_build(dataset: Dataset) -> str | None:
    with suppress(JobFailed):  # what the last build left behind is damaged; the clips are not
        run = last_run(dataset.store)
        return str(run.config.get("keep_clips") or "") if run is not None else None
    return None


def _numbered_otherwise(dataset: Dataset, clips: Sequence[ExportedClip]) -> list[str]:
    """The splits in which the sorted folders give other class numbers than the dataset has: torchvision's
    `find_classes`."""
    found: dict[str, dict[str, int]] = {}
    for clip in clips:
        found.setdefault(clip.split, {})[clip.relative.split("/")[1]] = clip.place.label
    return sorted(split for split, of in found.items() if [of[name] for name in sorted(of)] != list(range(len(of))))


def _write_lists(to: Path, form: str, clips: Sequence[ExportedClip]) -> list[str]:
    """The lists of each split; their paths are relative to the export's folder. The names of the files."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.relative):
        if form == "frames":
            lines[f"mmaction2_{clip.split}_rawframes.txt"].append(
                f"{clip.relative} {clip.place.frames} {clip.place.label}"
            )
        else:
            lines[f"mmaction2_{clip.split}_videos.txt"].append(f"{clip.relative}.mp4 {clip.place.label}")
            lines[f"slowfast_{clip.split}.csv"].append(f"{clip.relative}.mp4 {clip.place.label}")
    for name, rows in lines.items():
        (to / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return sorted(lines)
