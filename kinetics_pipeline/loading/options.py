"""The keyword arguments of `ClipDataset`, their defaults, and what they may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.arguments import whole_number

Stream = Literal["rgb", "flow", "both"]


class ClipOptions(TypedDict, total=False):
    """Keyword arguments of `ClipDataset`; its docstring says what each of them does."""

    stride: int
    step_between_clips: int | None
    classes: Collection[str] | None
    renumber: bool
    clips: Collection[str] | str | Path | None
    examples_per_class: int | None
    labelled_only: bool
    transform: Callable[..., Any] | None
    raw: bool
    flip: bool
    copy_ahead: int
    cache: str | os.PathLike[str] | None


DEFAULTS: ClipOptions = {
    "stride": 1,
    "step_between_clips": None,
    "classes": None,
    "renumber": False,
    "clips": None,
    "examples_per_class": None,
    "labelled_only": False,
    "transform": None,
    "raw": False,
    "flip": True,
    "copy_ahead": 64 << 30,
    "cache": None,
}


def with_defaults(given: ClipOptions) -> ClipOptions:
    """All options. Raises TypeError for a name that is none, as a call with a wrong keyword does."""
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(f"ClipDataset got an unexpected keyword argument {name!r}; allowed: {', '.join(DEFAULTS)}")
    return {**DEFAULTS, **given}


def require_arguments(
    stream: str, frames: int | None, crop: int | None, options: ClipOptions, dataset: Dataset
) -> None:
    """Raises UserError for the first argument that cannot be."""
    require_stream(stream, dataset)
    for name, value in (("frames", frames), ("crop", crop), ("step_between_clips", options["step_between_clips"])):
        if value is not None:
            whole_number(name, value, 1)
    whole_number("stride", options["stride"], 1)
    if options["renumber"] and options["classes"] is None:
        raise UserError("renumber is True, but no classes are chosen; allowed: together with classes")
    if options["transform"] is not None and not callable(options["transform"]):
        raise UserError(f"transform is {options['transform']!r}; allowed: a function of uint8 [T, C, H, W]")


def require_stream(stream: str, dataset: Dataset) -> None:
    """Raises UserError for a stream that there is not, or that the dataset was built without."""
    if stream not in get_args(Stream):
        raise UserError(f"stream is {stream!r}; allowed: rgb, flow, both")
    if stream != "rgb" and dataset.recipe.flow == "none":
        raise UserError(f"stream is {stream!r}, but {dataset.store.uri} was built without flow; allowed: rgb")


def require_size(index: pa.Table, crop: int | None) -> None:
    """Raises UserError that names a clip of `index` whose frames are smaller than the crop."""
    if crop is None:
        return
    for name in ("height", "width"):
        sizes = index[name].to_numpy()
        smallest = int(sizes.argmin())
        if sizes[smallest] < crop:
            clip = index.slice(smallest, 1).to_pylist()[0]
            raise UserError(
                f"crop is {crop}, but the frames of {clip['clip_id']} are {clip['height']}x{clip['width']}; "
                f"allowed: at most {min(clip['height'], clip['width'])}"
            )
