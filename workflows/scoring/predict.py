"""`predict`: what trained streams see in a video file, or in a clip of a dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import quantised_tvl1
from kinetics_pipeline.flow.parameters import NO_MOTION
from kinetics_pipeline.loading import normalise
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.whole_clips import WholeClips, whole_video
from kinetics_pipeline.loading.windows import crop_corner
from kinetics_pipeline.models.precision import device_here
from kinetics_pipeline.models.scoring.evaluation import Predictions
from kinetics_pipeline.models.scoring.evaluation import evaluate as evaluate_network
from kinetics_pipeline.models.scoring.metrics import fuse, softmax
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.sources.objects.videos import is_object_place
from kinetics_pipeline.video.container import VideoStream
from kinetics_pipeline.video.frames import BrokenVideo, TooShort, read_clip
from kinetics_pipeline.workflows.datasets.clip_names import clip_named
from kinetics_pipeline.workflows.flags.training_flags import PredictConfig
from kinetics_pipeline.workflows.pictures.sheets import require_picture_file
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.scoring.fetch_video import fetch_video, shown
from kinetics_pipeline.workflows.scoring.prediction import Prediction, StoredFrames
from kinetics_pipeline.workflows.scoring.trained import Trained, open_trained

MOST_FRAMES = 250
"""Ten seconds at 25 fps, from the start: a clip of Kinetics."""


def predict(video: str, config: PredictConfig) -> list[tuple[str, float]]:
    """Prints the most probable classes, and returns them with their probabilities. Raises as `prediction_of`."""
    found = prediction_of(video, config)
    found.print()
    if config.picture is not None:
        print(f"picture: {config.picture}")
    return list(found.best)


def prediction_of(video: str, config: PredictConfig) -> Prediction:
    """What the streams see. Writes the picture, where one is asked for.

    Raises UserError for a file, a run or a clip that cannot be used.
    """
    given = {"rgb": config.rgb, "flow": config.flow, "both": config.both}
    if config.picture is not None:
        require_picture_file(config.picture)
    streams = [open_trained(path, name) for name, path in given.items() if path]
    if any(one.classes != streams[0].classes for one in streams):
        raise UserError("--rgb and --flow were trained on other classes; streams that are fused share a class list")
    needs_flow = any(one.stream != "rgb" for one in streams)
    if config.dataset is None and "://" in video:
        if urlsplit(video).scheme not in ("http", "https") and not is_object_place(video):
            allowed = "a file, an http(s) or s3://, gs://, az:// URL, or a clip_id with --dataset"
            raise UserError(f"VIDEO is {shown(video)}; allowed: {allowed}")
        stored = _from_url(video, config, streams, needs_flow)
    elif config.dataset is None:
        stored = _from_file(Path(video), config, streams, needs_flow)
    else:
        stored = _from_dataset(video, config, streams, needs_flow)
    probabilities = _probabilities(stored, streams, config)
    best = np.argsort(-probabilities, kind="stable")[: config.top]
    named = tuple((streams[0].classes[k], float(probabilities[k])) for k in best)
    found = Prediction(stored, named, tuple(one.stream for one in streams))
    if config.picture is not None:
        found.picture().save(config.picture)
    return found


def _from_url(url: str, config: PredictConfig, streams: Sequence[Trained], needs_flow: bool) -> StoredFrames:
    recipe, start = _one_recipe(streams), config.start or 0.0
    end = config.end if config.end is not None else start + MOST_FRAMES / recipe.fps
    _require_order(start, end)
    with tempfile.TemporaryDirectory(prefix="predict-") as folder:
        media = fetch_video(url, start, end, recipe.short_side, Path(folder))
        return _from_file(media.path, config, streams, needs_flow, media, Path(urlsplit(url).path).name or shown(url))


def _require_order(start: float, end: float) -> None:
    if end <= start:
        raise UserError(f"--end is {end}; allowed: more than --start, which is {start}")


def _from_file(
    path: Path,
    config: PredictConfig,
    streams: Sequence[Trained],
    needs_flow: bool,
    media: Media | None = None,
    name: str | None = None,
) -> StoredFrames:
    """`media`: says where in the video the file begins, when it is a part of one."""
    if not path.is_file():
        raise UserError(f"VIDEO is {path}, which is not a file; for a clip id give the --dataset that holds it")
    recipe = _one_recipe(streams)
    start = config.start
    end = config.end
    if end is None:  # no more is decoded than is looked at
        end = (start or 0.0) + MOST_FRAMES / recipe.fps
    else:
        _require_order(start or 0.0, end)
    try:
        known: list[VideoStream] = []
        options = _options(recipe, media) | {"streams": known}
        frames = _frames(path, start, end, recipe, int(needs_flow), options, asked=config.end is not None)
    except BrokenVideo as error:
        raise UserError(f"{path} cannot be decoded: {error}") from error
    except TooShort as error:
        raise UserError(f"{path} does not reach from --start to --end: {error}") from error
    except TimeoutError as error:
        raise UserError(f"{path} takes too long to decode") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    wanted = round((end - (start or 0.0)) * recipe.fps)
    rgb = frames[:wanted]
    flow = _flow(frames, len(rgb), recipe) if needs_flow else None
    return StoredFrames(name or path.name, rgb, flow, fps=recipe.fps, source_fps=known[-1].rate)


def _frames(
    path: Path, start: float | None, end: float, recipe: Recipe, lookahead: int, options: dict[str, Any], *, asked: bool
) -> NDArray[np.uint8]:
    try:
        return read_clip(path, start or 0.0, end, recipe.fps, recipe.short_side, lookahead, **options)
    except TooShort:
        if asked:
            raise
        return read_clip(path, start, None, recipe.fps, recipe.short_side, **options)


def _options(recipe: Recipe, media: Media | None) -> dict[str, Any]:
    options: dict[str, Any] = {"interpolation": recipe.interpolation}
    return options if media is None else options | {"offset": media.offset, "duration": media.duration}


def _flow(frames: NDArray[np.uint8], count: int, recipe: Recipe) -> NDArray[np.uint8]:
    """The flow of the first `count` frames as it would be stored: the last one's is that of the one before where no
    frame follows."""
    if len(frames) == 1:
        return np.full((1, 2, *frames.shape[1:3]), NO_MOTION, np.uint8)
    flow = quantised_tvl1(frames, **vars(recipe.flow_parameters))
    if len(flow) < count:
        flow = np.concatenate([flow, flow[-1:]])
    return flow[:count]


def _one_recipe(streams: Sequence[Trained]) -> Recipe:
    """The recipe to prepare frames with. Raises UserError when the streams were trained on differently made ones."""
    first = streams[0].recipe
    for one in streams[1:]:
        for name in ("fps", "short_side", "interpolation"):
            if getattr(one.recipe, name) != getattr(first, name):
                raise UserError(
                    f"{streams[0].path} was trained on clips with {name} {getattr(first, name)}, {one.path} with "
                    f"{getattr(one.recipe, name)}; streams that are fused see the same frames"
                )
    return streams[-1].recipe  # of flow, if that is there


def _from_dataset(clip_id: str, config: PredictConfig, streams: Sequence[Trained], needs_flow: bool) -> StoredFrames:
    assert config.dataset is not None
    if config.start is not None or config.end is not None:
        raise UserError("--start and --end choose a piece of a file; a clip of --dataset is taken as it is")
    dataset = Dataset.open(config.dataset)
    clip_id = clip_named(dataset, clip_id)
    index = load_index(dataset)
    found = index.filter(pc.equal(index["clip_id"], clip_id)).to_pylist()
    if not found:
        raise _not_there(clip_id, dataset)
    for one in streams:
        one.require_recipe(dataset.recipe, dataset.store.uri)
    has_flow = dataset.recipe.flow != "none"
    if needs_flow and not has_flow:
        raise UserError(f"a network that sees flow is given, but {dataset.store.uri} was built without flow")
    clips = WholeClips(dataset.store.uri, None, "both" if has_flow else "rgb", None, MOST_FRAMES, clips=[clip_id])
    sample = clips[0]
    frames = min(found[0]["frames"], MOST_FRAMES)
    flow = sample["flow"].permute(1, 0, 2, 3).numpy()[:frames] if has_flow else None
    rgb = sample["video"].permute(1, 2, 3, 0).numpy()[:frames]
    rates = dataset.newest(lambda _, entry: entry.get("source_fps") if entry["clip_id"] == clip_id else None)
    return StoredFrames(clip_id, rgb, flow, found[0]["label"], dataset.recipe.fps, rates[clip_id])


def _not_there(clip_id: str, dataset: Dataset) -> UserError:
    record = dataset.records()[clip_id]
    why = f" ({record.detail})" if record.detail else ""
    return UserError(f"clip {clip_id} of {dataset.store.uri} is {record.outcome}{why}; allowed: clips that are ok")


def _probabilities(stored: StoredFrames, streams: Sequence[Trained], config: PredictConfig) -> NDArray[np.float32]:
    """[classes], of one stream or of both fused."""
    device = device_here()
    found = []
    for one in streams:
        with as_user_errors():
            kinds = {"both": ("rgb", "flow")}.get(one.stream, (one.stream,))
            shown = [normalise(_input(stored.stored(kind), one.crop, one.stride).to(device)) for kind in kinds]
            batch = {"video": shown[0], "rgb": shown[0], "flow": shown[-1], "clip_id": [stored.name]}
            found.append(evaluate_network(one.network().to(device), [batch], device))
    if len(found) == 1:
        return np.asarray(softmax(found[0].logits)[0])
    fused: Predictions = fuse(found[0], found[1], config.fuse)
    return np.asarray(fused.logits[0] if config.fuse == "softmax" else softmax(fused.logits)[0])


def _input(stored: NDArray[np.uint8], crop: int, stride: int) -> torch.Tensor:
    """uint8 [1, C, T, crop, crop]: the centre of every `stride`-th frame, a clip that is too short looped."""
    _, frames, height, width = stored.shape
    if min(height, width) < crop:
        raise UserError(f"the network sees {crop}x{crop} pixels, the frames have {height}x{width}")
    top, left = crop_corner(height, width, crop, 0, crops=1)
    numbers = whole_video(frames, stride)
    return torch.from_numpy(np.ascontiguousarray(stored[:, numbers, top : top + crop, left : left + crop]))[None]
