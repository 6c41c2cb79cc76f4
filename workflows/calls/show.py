"""`show`: a clip as a picture, in a notebook or to be saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.shards.codec import dequantise_flow
from kinetics_pipeline.workflows.datasets.clip_names import clip_named
from kinetics_pipeline.workflows.datasets.inspect import clip_rows
from kinetics_pipeline.workflows.pictures.colours import flow_colours
from kinetics_pipeline.workflows.pictures.sheets import Sheet, clip_sheet, flow_legend, stacked

if TYPE_CHECKING:
    from kinetics_pipeline.loading import ClipDataset

LARGEST_FLOW = 20.0
"""Pixels of motion that a sample's value of 1 stands for (see DESIGN's shards: flow is stored over +-20 px)."""


def show(
    clip: str | Mapping[str, Any],
    dataset: ClipDataset | str | os.PathLike[str] | None = None,
    *,
    frames: int = 8,
    height: int = 120,
) -> Sheet:
    """Frames of a clip, evenly over it, with their times, and its flow in colours; a notebook shows it.

    `clip` is a clip_id, or a video_id of which there is one clip, of `dataset`; or a sample of a `ClipDataset`, which
    is given as `dataset` for times and the name of the class. `height` is that of a frame, in pixels.

    Raises UserError for a clip that is not there, or not ok, and for what is not a sample.
    """
    if frames < 1 or height < 16:
        raise UserError(f"frames is {frames} and height {height}; allowed: 1 or more, and 16 or more")
    if isinstance(clip, str):
        return _stored_clip(clip, dataset, frames, height)
    if not isinstance(clip, Mapping) or not {"video", "clip_id", "label"} <= clip.keys():
        raise UserError(
            f"clip is {type(clip).__name__}; allowed: a clip_id with its dataset, or a sample of ClipDataset"
        )
    return _sample(clip, dataset, frames, height)


def _stored_clip(name: str, dataset: ClipDataset | str | os.PathLike[str] | None, frames: int, height: int) -> Sheet:
    if dataset is None:
        raise UserError(f"clip is {name!r}, and no dataset is given; allowed: a clip_id and its dataset")
    opened = Dataset.open(dataset if isinstance(dataset, str | os.PathLike) else dataset.uri)
    clip_id = clip_named(opened, name)
    record = opened.records()[clip_id]
    if record.outcome != "ok":
        why = f" ({record.detail})" if record.detail else ""
        raise UserError(f"clip {clip_id} of {opened.store.uri} is {record.outcome}{why}; allowed: clips that are ok")
    rows = clip_rows(opened, record.to_json(), clip_id, frames, height)
    legend = [] if opened.recipe.flow == "none" else [flow_legend(max(row.shape[1] for row in rows))]
    return Sheet(stacked([*rows, *legend]))


def _sample(
    sample: Mapping[str, Any], dataset: ClipDataset | str | os.PathLike[str] | None, frames: int, height: int
) -> Sheet:
    clips = None if dataset is None or isinstance(dataset, str | os.PathLike) else dataset
    fps = None if clips is None else clips.recipe.fps / clips.stride
    label = int(sample["label"])
    named = (
        clips.classes[label] if clips is not None and label >= 0 else ("no label" if label < 0 else f"class {label}")
    )
    streams = {value.shape[0]: _values(value) for name in ("video", "flow") if (value := sample.get(name)) is not None}
    lines = [visible(f"{sample['clip_id']}, {named}, {counted(len(next(iter(streams.values()))), 'frame')}")]
    flow = streams.get(2)
    if 3 not in streams:
        assert flow is not None
        rows = clip_sheet(lines, flow_colours(flow), None, fps, frames, height)
        return Sheet(stacked([*rows, flow_legend(rows[0].shape[1])]))
    rows = clip_sheet(lines, streams[3], flow, fps, frames, height)
    return Sheet(stacked([*rows, *([flow_legend(rows[-1].shape[1])] if flow is not None else [])]))


def _values(video: Any) -> NDArray[Any]:
    """Takes [C, T, H, W], in [-1, 1] or stored uint8; gives RGB as uint8 [T, H, W, 3], flow as float32 [T, 2, H, W] in
    pixels.

    Raises UserError for another shape.
    """
    values = np.asarray(video)
    if values.ndim != 4 or values.shape[0] not in (2, 3):
        raise UserError(
            f"a sample's values are {list(values.shape)}; allowed: [3, T, H, W] of RGB, [2, T, H, W] of flow"
        )
    stored = values.dtype == np.uint8
    if values.shape[0] == 3:
        frames = values if stored else ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        return frames.transpose(1, 2, 3, 0)
    flow = values.transpose(1, 0, 2, 3)
    return dequantise_flow(flow) if stored else flow * LARGEST_FLOW
