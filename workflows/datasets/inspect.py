"""`tools inspect`: what a dataset holds, what is known of a clip, and a picture of frames and flow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.shards.codec import dequantise_flow
from kinetics_pipeline.workflows.datasets.clip_names import clip_named
from kinetics_pipeline.workflows.datasets.status import look
from kinetics_pipeline.workflows.pictures.colours import Picture
from kinetics_pipeline.workflows.pictures.sheets import (
    clip_sheet,
    flow_legend,
    require_picture_file,
    stacked,
    write_picture,
)
from kinetics_pipeline.workflows.runtime.progress import size

SHOWN_CLASSES = 8
HEIGHT = 120
"""Pixels of a frame in a picture."""


def inspect(uri: str, clips: Sequence[str], picture: Path | None, frames: int) -> None:
    """Prints the dataset, or the newest record of each clip named, and writes the picture.

    Raises UserError for a clip that has no record, or none that can be drawn.
    """
    dataset = Dataset.open(uri)
    clips = [clip_named(dataset, clip) for clip in clips]
    if frames < 1:
        raise UserError(f"--frames is {frames}; allowed: 1 or more")
    if picture is not None:
        require_picture_file(picture)
    if clips:
        _show_clips(dataset, clips)
    else:
        _show_dataset(dataset)
    if picture is not None:
        index = load_index(dataset)
        drawn = [clip for clip in clips if clip in set(index["clip_id"].to_pylist())] if clips else _examples(index)
        if not drawn:
            raise UserError(f"--picture is {picture}, but {dataset.store.uri} holds no frames of what is asked")
        known = dataset.newest(lambda _, entry: entry if entry["clip_id"] in drawn else None)
        rows = [row for clip in drawn for row in clip_rows(dataset, known[clip] or {}, clip, frames)]
        if dataset.recipe.flow != "none":
            rows.append(flow_legend(max(row.shape[1] for row in rows)))
        write_picture(picture, stacked(rows))
        print(f"{counted(len(drawn), 'clip is', 'clips are')} drawn in {picture}")


def _show_clips(dataset: Dataset, clips: Sequence[str]) -> None:
    entries = dataset.newest(lambda marker, entry: {"shard": marker.shard, "split": marker.split, **entry})
    for clip in clips:
        for line in json.dumps(entries[clip], indent=1, ensure_ascii=False).splitlines():
            print(visible(line))


def _show_dataset(dataset: Dataset) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    document, index = look(dataset), load_index(dataset)
    console.print(
        f"{dataset.store.uri}: {counted(document['clips'], 'clip')} asked, {document['ok']} ok, "
        f"{counted(document['shards'], 'shard')}"
    )
    recipe = dataset.recipe.to_json()
    console.print("recipe: " + ", ".join(f"{name} {value}" for name, value in recipe.items()))
    if len(index):
        frames = index["frames"].to_numpy()
        console.print(
            f"{size(document['bytes'])}: {size(document['bytes'] / len(index))} a clip, "
            f"{size(document['bytes'] / max(document['shards'], 1))} a shard"
        )
        sizes = sorted(set(zip(index["height"].to_pylist(), index["width"].to_pylist(), strict=True)))
        told = ", ".join(f"{height}x{width}" for height, width in sizes[:6]) + (", ..." if len(sizes) > 6 else "")
        console.print(f"frames: {frames.min()} to {frames.max()}, {frames.mean():.1f} on average; {told}")
    table = Table("class", "label", *(splits := sorted(set(index["split"].to_pylist()))), box=None, pad_edge=False)
    for number, label in enumerate(dataset.classes):
        mine = index.filter(pc.equal(index["label"], label))
        counts = [str(pc.sum(pc.equal(mine["split"], split)).as_py() or 0) for split in splits]
        table.add_row(str(number), visible(label), *counts)
    console.print(table)


def _examples(index: pa.Table) -> list[str]:
    """The first clip of each of the first classes."""
    labels, ids = index["label"].to_pylist(), index["clip_id"].to_pylist()
    first: dict[Any, str] = {}
    for label, clip in zip(labels, ids, strict=True):
        first.setdefault(label, clip)
    return list(first.values())[:SHOWN_CLASSES]


def clip_rows(
    dataset: Dataset, record: Mapping[str, Any], clip: str, shown: int, height: int = HEIGHT
) -> list[Picture]:
    """The rows of one clip that is ok, with what its record says of its video."""
    streams: tuple[Literal["rgb", "flow"], ...] = ("rgb",) if dataset.recipe.flow == "none" else ("rgb", "flow")
    stored = {stream: _stored(dataset, clip, stream) for stream in streams}
    (frames, label), fps = stored["rgb"], dataset.recipe.fps
    flow = dequantise_flow(stored["flow"][0]) if "flow" in stored else None
    lines = [
        clip,
        label,
        f"{counted(len(frames), 'frame')}, {len(frames) / fps:.2f} s at {fps:g} fps; {_of_its_video(record)}",
    ]
    return clip_sheet([visible(line) for line in lines if line], frames, flow, fps, shown, height)


def _of_its_video(record: Mapping[str, Any]) -> str:
    if not record.get("source_fps"):
        return "rate and size of its video are not recorded"
    return f"its video: {record['source_fps']:g} fps, {record['source_width']}x{record['source_height']}"


def _stored(dataset: Dataset, clip: str, stream: Literal["rgb", "flow"]) -> tuple[NDArray[np.uint8], str]:
    """All stored values of a clip: uint8 [T, H, W, 3] of rgb, [T, 2, H, W] of flow; and its label."""
    sample = ClipDataset(dataset.store.uri, stream=stream, frames=None, crop=None, train=False, raw=True, clips=[clip])[
        0
    ]
    values = sample["video"].numpy()
    label = dataset.classes[sample["label"]] if sample["label"] >= 0 else ""
    return values.transpose(1, 2, 3, 0) if stream == "rgb" else values.transpose(1, 0, 2, 3), label
