"""`tools inspect`: what a dataset holds, what is known of a clip, and a picture of frames and flow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.shards.codec import dequantise_flow
from kinetics_pipeline.workflows.datasets.status import look
from kinetics_pipeline.workflows.pictures import Picture, flow_colours, stacked, strip, write_picture, written
from kinetics_pipeline.workflows.runtime.progress import size

SHOWN_CLASSES = 8
HEIGHT = 120
"""Pixels of a frame in a picture."""


def inspect(uri: str, clips: Sequence[str], picture: Path | None, frames: int) -> None:
    """Prints the dataset, or the newest record of each clip named, and writes the picture.

    Raises UserError for a clip that has no record, or none that can be drawn.
    """
    dataset = Dataset.open(uri)
    if frames < 1:
        raise UserError(f"--frames is {frames}; allowed: 1 or more")
    if clips:
        _show_clips(dataset, clips)
    else:
        _show_dataset(dataset)
    if picture is not None:
        index = load_index(dataset)
        drawn = [clip for clip in clips if clip in set(index["clip_id"].to_pylist())] if clips else _examples(index)
        if not drawn:
            raise UserError(f"--picture is {picture}, but {dataset.store.uri} holds no frames of what is asked")
        write_picture(picture, stacked([row for clip in drawn for row in _rows(dataset, clip, frames)]))
        print(f"{len(drawn)} clips are drawn in {picture}")


def _show_clips(dataset: Dataset, clips: Sequence[str]) -> None:
    entries = dataset.newest(lambda marker, entry: {"shard": marker.shard, "split": marker.split, **entry})
    for clip in clips:
        if clip not in entries:
            raise UserError(f"--clip is {clip!r}, of which {dataset.store.uri} has no record")
        for line in json.dumps(entries[clip], indent=1, ensure_ascii=False).splitlines():
            print(visible(line))


def _show_dataset(dataset: Dataset) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    document, index = look(dataset), load_index(dataset)
    console.print(
        f"{dataset.store.uri}: {document['clips']} clips asked, {document['ok']} ok, {document['shards']} shards"
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


def _rows(dataset: Dataset, clip: str, shown: int) -> Iterator[Picture]:
    streams: tuple[Literal["rgb", "flow"], ...] = ("rgb",) if dataset.recipe.flow == "none" else ("rgb", "flow")
    label = ""
    strips = []
    for stream in streams:
        stored, label = _stored(dataset, clip, stream)
        if stream == "flow":
            stored = flow_colours(dequantise_flow(stored))
        strips.append(strip(stored, shown, HEIGHT))
    yield written([visible(f"{clip}  {label}")], strips[0].shape[1])
    yield from strips


def _stored(dataset: Dataset, clip: str, stream: Literal["rgb", "flow"]) -> tuple[NDArray[np.uint8], str]:
    """All stored values of a clip: uint8 [T, H, W, 3] of rgb, [T, 2, H, W] of flow; and its label."""
    sample = ClipDataset(dataset.store.uri, stream=stream, frames=None, crop=None, train=False, raw=True, clips=[clip])[
        0
    ]
    values = sample["video"].numpy()
    label = dataset.classes[sample["label"]] if sample["label"] >= 0 else ""
    return values.transpose(1, 2, 3, 0) if stream == "rgb" else values.transpose(1, 0, 2, 3), label
