"""Pictures of some clips for a page that is to be shared: their flow in colours, and their frames if the user asks.

Frames may show people; flow shows how something moves, and no face.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import simplejpeg
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.shard_reader import Place
from kinetics_pipeline.shards.codec import dequantise_flow, encode_rgb
from kinetics_pipeline.shards.markers import marker_name, parse_marker, shard_of
from kinetics_pipeline.workflows.datasets.viewer.frames import ClipPictures
from kinetics_pipeline.workflows.pictures.colours import colour_wheel, even_frames, flow_colours

MOST_CLIPS = 12
"""Clips shown: of each class one, of classes evenly over all; of fewer classes several."""
SHOWN, WIDTH, QUALITY = 4, 160, 80
"""Frames of a clip, their least width in pixels, and the quality of their JPEGs: some 6 kB each."""


def examples(clips: pd.DataFrame, clip_ids: pa.ChunkedArray) -> list[dict[str, str]]:
    """Which clips are shown: `clip_id` and `shard`. `clips` has the columns `outcome`, `label` and `file`."""
    ok = clips[clips["outcome"] == "ok"]
    number = ok.groupby("label", observed=True, dropna=False).cumcount()
    in_turn = ok.assign(number=number)[number < MOST_CLIPS].sort_values(["number", "label"], kind="stable")
    first = in_turn[in_turn["number"] == 0]
    chosen = first.iloc[even_frames(len(first), MOST_CLIPS)] if len(first) >= MOST_CLIPS else in_turn[:MOST_CLIPS]
    ids = clip_ids.take(pa.array(chosen.index.to_numpy())).to_pylist()
    return [{"clip_id": one, "shard": shard_of(file)} for one, file in zip(ids, chosen["file"], strict=True)]


def media_of(dataset: Dataset, shown: Sequence[Mapping[str, str]], with_frames: bool) -> dict[str, Any]:
    """`{"wheel", "clips": [{"clip_id", "label", "times", "flow", "rgb", "largest"}]}`: pictures as `data:` addresses;
    `largest` is the motion of full colour, in pixels a frame. A clip that cannot be read is left out."""
    pictures = ClipPictures(dataset)
    streams = [name for name in pictures.streams() if name == "flow" or with_frames]
    clips = []
    for one in shown if streams else ():
        with suppress(UserError, FileNotFoundError, ValueError):
            clips.append(_clip(dataset, pictures, one, streams))
    return {"wheel": _address(colour_wheel(64)) if "flow" in streams else "", "clips": clips}


def _clip(dataset: Dataset, pictures: ClipPictures, one: Mapping[str, str], streams: Sequence[str]) -> dict[str, Any]:
    name = marker_name(one["shard"])
    marker = parse_marker(f"{dataset.store.uri}/{name}", dataset.store.read(name))
    entry = next(entry for entry in marker.clips if entry["clip_id"] == one["clip_id"] and entry["outcome"] == "ok")
    label = dataset.classes.index(entry["label"]) if entry["label"] in dataset.classes else -1
    place = Place.of({**entry, "shard": marker.file, "class": label})
    numbers = even_frames(place.frames, SHOWN)
    stored = [pictures.frame(place, number) for number in numbers]
    flow = list(_flow([images["flow"] for images in stored], place)) if "flow" in streams else []
    largest = max(float(np.percentile(np.hypot(*_motion(flow)), 99)), 0.1) if flow else 0.0
    return {
        "clip_id": entry["clip_id"],
        "label": entry["label"] or "",
        "times": [round(number / dataset.recipe.fps, 2) for number in numbers],
        "largest": round(largest, 1),
        "flow": [_address(_small(flow_colours(field, largest))) for field in flow],
        "rgb": [_address(_small(_rgb(images["rgb"]))) for images in stored] if "rgb" in streams else [],
    }


def _motion(flow: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    fields = np.stack(flow)
    return fields[:, 0], fields[:, 1]


def _flow(images: Sequence[bytes], place: Place) -> Iterator[NDArray[np.float32]]:
    for image in images:
        grey = simplejpeg.decode_jpeg(image, colorspace="GRAY")
        yield dequantise_flow(grey.reshape(2, place.height, place.width))


def _rgb(image: bytes) -> NDArray[np.uint8]:
    return np.asarray(simplejpeg.decode_jpeg(image, colorspace="RGB"), np.uint8)


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of squares of pixels, so that WIDTH or somewhat more remain: without OpenCV, which only builds need."""
    side = max(1, picture.shape[1] // WIDTH)
    height, width = picture.shape[0] // side, picture.shape[1] // side
    squares = picture[: height * side, : width * side].reshape(height, side, width, side, 3)
    return np.asarray(squares.mean(axis=(1, 3)).round(), np.uint8)


def _address(picture: NDArray[np.uint8]) -> str:
    jpeg = encode_rgb(np.ascontiguousarray(picture), QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
