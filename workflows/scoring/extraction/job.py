"""`features`: from what is asked to files of features and an outcome for each video. Begin reading with `features`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.models.precision import Precision
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import RETRYABLE
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards.writer import versions
from kinetics_pipeline.workflows.flags.features_flags import FeaturesConfig
from kinetics_pipeline.workflows.runtime.cluster import addressed, connected
from kinetics_pipeline.workflows.scoring.extraction import outcomes
from kinetics_pipeline.workflows.scoring.extraction.arrays import join_parts, part_name
from kinetics_pipeline.workflows.scoring.extraction.driver import Executor, Here, meter_of, run_all
from kinetics_pipeline.workflows.scoring.extraction.network import (
    Weights,
    What,
    described,
    least_window,
    open_weights,
    require_together,
)
from kinetics_pipeline.workflows.scoring.extraction.presets import Layout, as_record, file_name, layout_of
from kinetics_pipeline.workflows.scoring.extraction.resolving import Asked, resolve
from kinetics_pipeline.workflows.scoring.extraction.videos import Item, find_videos, require_names
from kinetics_pipeline.workflows.scoring.extraction.worker import Task, Worker

FEW_CORES = 6
"""One process uses so few cores all by itself, where there is no GPU; starting Ray would only take time and memory."""
PARQUET = "features.parquet"
TRIAL_FRAMES = 64
"""Frames that precision is tried on at least: on less, what is slower later may win."""


def features(named: Sequence[str], config: FeaturesConfig) -> Counter[str]:
    """Writes the features of all videos that have none yet; how many had each outcome in this run.

    Raises UserError for what cannot be asked, WorkRemains where some video is worth another try.
    """
    if not named:
        raise UserError("VIDEOS is missing; name files, folders, lists (.txt) or datasets")
    weights = _weights(config)
    recipe = require_together(weights)
    items = find_videos(named, config.split)
    layout = _layout(config, weights, recipe, items)
    require_names(items, partial(_names, layout, weights, config.format))
    outcomes.start_folder(config.to)
    before = {item: outcomes.settled(config.to, item) for item in items}
    left = [item for item, outcome in before.items() if outcome is None]
    with _executor_kind(left, config) as on_ray:
        task = _task(config, weights, recipe, layout, on_ray=on_ray)
        counts = _run(left, task, weights, on_ray=on_ray) if left else Counter[str]()
    if config.format == "parquet":
        _join(config.to, items)
    _say(counts, Counter(outcome.outcome for outcome in before.values() if outcome), config.to)
    again = sum(counts[outcome] for outcome in RETRYABLE)
    if again:
        raise WorkRemains(
            f"{again} of {counted(len(items), 'video')} may work another time; the same command tries them again"
        )
    return counts


def _weights(config: FeaturesConfig) -> tuple[Weights, ...]:
    given = {"rgb": config.rgb, "flow": config.flow, "both": config.both}
    return tuple(open_weights(path, stream, config.bn_eps) for stream, path in given.items() if path)  # type: ignore[arg-type]


def _layout(config: FeaturesConfig, weights: Sequence[Weights], recipe: Recipe, items: Sequence[Item]) -> Layout:
    """The layout that is asked. Raises UserError for one that these networks or videos cannot have."""
    asked = {name: getattr(config, name) for name in ("window", "step", "position", "ends", "per", "crops", "order")}
    fps = config.rate()
    if fps is None and config.like is None:
        fps = weights[0].fps
    layout = layout_of(config.like, {**asked, "concat": config.concat, "fps": fps})
    if layout.concat and len(weights) != 2 and weights[0].stream != "both":
        raise UserError(f"{_flag(config)} joins RGB and flow; give --rgb and --flow")
    if layout.one_stream and len(weights) != 1:
        raise UserError(
            f"--like {config.like} has one stream a file; give one of --rgb and --flow, and another --to for the other"
        )
    if config.map and layout.order == "ct":
        raise UserError("--map is given with --order ct; allowed: tc, where rows have more than one axis")
    for one in weights:
        if (layout.per == "step" or config.map) and one.checkpoint.model != "i3d":
            flag = "--per step" if layout.per == "step" else "--map"
            raise UserError(f"{flag} is given with {one.path}, {one.checkpoint.model}; allowed: i3d")
    least, model = least_window(weights)
    if layout.per == "window" and layout.window < least:
        raise UserError(f"--window is {layout.window}; allowed: {least} or more, the least that {model} can see")
    for place in dict.fromkeys(item.place for item in items if item.clip):
        _require_dataset(Dataset.open(place), layout, recipe, weights)
    return layout


def _flag(config: FeaturesConfig) -> str:
    return "--concat" if config.concat else f"--like {config.like}"


def _require_dataset(dataset: Dataset, layout: Layout, recipe: Recipe, weights: Sequence[Weights]) -> None:
    """Raises UserError for a dataset whose frames are not those that the networks were trained on."""
    made, needs_flow = dataset.recipe, any(one.stream != "rgb" for one in weights)
    if needs_flow and made.flow == "none":
        raise UserError(f"a network that sees flow is given, but {dataset.store.uri} was built without flow")
    if layout.fps not in ("native", made.fps):
        raise UserError(f"--fps is {layout.fps:g}, but {dataset.store.uri} has {made.fps:g}; allowed there: native")
    for name in ("short_side", "interpolation", *(["flow_parameters"] if needs_flow else [])):
        mine, theirs = getattr(recipe, name), getattr(made, name)
        if mine != theirs:
            raise UserError(
                f"{weights[0].path} was trained on clips with {name} {mine}, {dataset.store.uri} has {theirs}"
            )


def _names(layout: Layout, weights: Sequence[Weights], kind: str, stem: str) -> list[str]:
    """The files that a video will have."""
    if kind == "parquet":
        return [part_name(stem)]
    streams = ["joined"] if layout.concat or weights[0].stream == "both" else [one.stream for one in weights]
    others = [what for what in ("times", "fps", "timestamps_ms") if what in layout.files]
    return [file_name(layout.files[what], stem) for what in (*streams, *others)]


@contextmanager
def _executor_kind(left: Sequence[Item], config: FeaturesConfig) -> Iterator[bool]:
    """Whether the work is done on Ray, which is then connected."""
    cores = config.cpus or os.cpu_count() or 1
    if not left or (not addressed() and not torch.cuda.is_available() and cores <= FEW_CORES):
        if config.cpus is not None:
            os.environ["OMP_NUM_THREADS"] = str(config.cpus)  # flow's number of threads
            torch.set_num_threads(config.cpus)
        yield False
        return
    with connected(config.cpus):
        yield True


def _task(
    config: FeaturesConfig, weights: tuple[Weights, ...], recipe: Recipe, layout: Layout, *, on_ray: bool
) -> Task:
    """How all videos are worked on, as `features.json` says if it is there; else it is written.

    Raises UserError where that says otherwise than what is asked.
    """
    what: What = "logits" if config.logits else "map" if config.map else "features"
    before = outcomes.kept(config.to)
    asked = Asked(
        weights,
        config.precision,
        config.flow_backend,
        max(TRIAL_FRAMES, layout.window if layout.per == "window" else 0),
    )
    resolved = _as_before(before, asked) if before is not None else None
    if resolved is None and on_ray:
        from kinetics_pipeline.workflows.scoring.extraction.ray_actors import resolve_there

        resolved = resolve_there(asked)
    precisions, backend = resolved or resolve(asked)
    document = {
        "layout": as_record(layout),
        "what": what,
        "dtype": config.dtype,
        "format": config.format,
        "frames": {
            "short_side": recipe.short_side,
            "interpolation": recipe.interpolation,
            "flow_parameters": asdict(recipe.flow_parameters) if backend else None,
            "flow_backend": backend,
        },
        "networks": {one.stream: described(one, precision) for one, precision in zip(weights, precisions, strict=True)},
        "versions": versions(),
    }
    if before is None:
        outcomes.write_how(config.to, document)
    else:
        outcomes.require_same(config.to, before, document)
    return Task(config.to, layout, what, config.dtype, config.format, recipe, backend, precisions)


def _as_before(before: dict[str, Any], asked: Asked) -> tuple[tuple[Precision, ...], str | None] | None:
    """Precision and flow backend of an earlier run, where now they are left open; None where they are not, or where it
    had other networks."""
    try:
        kept = [before["networks"][one.stream]["precision"] for one in asked.weights]
        found = tuple(Precision(bool(k["bf16"]), bool(k["channels_last"]), "as before") for k in kept)
        backend = before["frames"]["flow_backend"]
    except (KeyError, TypeError):
        return None
    if asked.precision != "auto" and any(one.bf16 != (asked.precision == "bf16") for one in found):
        return None
    if asked.needs_flow and asked.flow_backend != "auto":
        backend = asked.flow_backend
    return found, backend if asked.needs_flow else None


def _run(left: Sequence[Item], task: Task, weights: Sequence[Weights], *, on_ray: bool) -> Counter[str]:
    executor: Executor
    if on_ray:
        from kinetics_pipeline.workflows.scoring.extraction.ray_actors import Actors

        executor = Actors(task, weights)
    else:
        executor = Here(partial(Worker, task, weights))
    try:
        with meter_of(left) as meter:
            return run_all(left, executor, lambda outcome: outcome.write(task.folder), meter)
    finally:
        executor.close()


def _join(folder: Path, items: Sequence[Item]) -> None:
    """Joins the parts of all videos that have one."""
    stems = [item.stem for item in items if (folder / part_name(item.stem)).is_file()]
    if stems:
        rows = join_parts(folder, stems, folder / PARQUET)
        print(f"{counted(rows, 'row')} of {counted(len(stems), 'video')}: {folder / PARQUET}")


def _say(now: Counter[str], before: Counter[str], folder: Path) -> None:
    """Says how many videos had each outcome, in this run and in earlier ones."""
    had = f", {before['ok']} had them before" if before["ok"] else ""
    failed, failed_before = _failed(now), _failed(before)
    done = f"{counted(now['ok'], 'video has', 'videos have')} features now{had}"
    parts = [done, failed, failed_before and f"{failed_before} before"]
    print(f"{'; '.join(filter(None, parts))}: {folder}")
    if failed or failed_before:
        print(f"the reason of each lies in {folder / outcomes.OUTCOMES}", file=sys.stderr)


def _failed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()) if outcome != "ok")
