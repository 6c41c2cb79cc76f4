"""`evaluate`: trained streams on whole clips, each alone and both fused; coverage and provenance beside the scores."""

from __future__ import annotations

import math
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.selection import joined
from kinetics_pipeline.models.precision import device_here
from kinetics_pipeline.models.scoring.evaluation import Predictions
from kinetics_pipeline.models.scoring.metrics import confusion, fuse, mean_class_accuracy, mean_error, per_class, top_k
from kinetics_pipeline.shards.writer import versions
from kinetics_pipeline.workflows.flags.record import as_record
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.scoring.action_scores import action_scores, video_logits
from kinetics_pipeline.workflows.scoring.footprint import footprints
from kinetics_pipeline.workflows.scoring.groups import group_scores, read_groups
from kinetics_pipeline.workflows.scoring.predictions_file import write_predictions
from kinetics_pipeline.workflows.scoring.result import EvaluateResult
from kinetics_pipeline.workflows.scoring.seen_in_training import seen_in_training
from kinetics_pipeline.workflows.scoring.sharing import loaders_of, predictions_of, require_workers, views_of
from kinetics_pipeline.workflows.scoring.trained import Trained, open_trained
from kinetics_pipeline.workflows.training.run_folder import write_json


def evaluate(output: str, config: EvaluateConfig) -> dict[str, Any]:
    """Prints the table and writes the results, which it returns. Raises as `score`."""
    result = score(output, config)
    result.print()
    return dict(result.document)


def score(output: str, config: EvaluateConfig) -> EvaluateResult:
    """Writes the results, and returns them. Raises UserError for what cannot be compared."""
    dataset = Dataset.open(output)
    given = {"rgb": config.rgb, "flow": config.flow, "both": config.both}
    streams = [open_trained(path, name, bn_eps=config.bn_eps) for name, path in given.items() if path]
    _require_comparable(streams, dataset, config)
    warnings = seen_in_training(streams, dataset, config.split)
    for line in warnings:
        print(line, file=sys.stderr)
    asked = None if config.clips is None else _clip_ids(config.clips)
    require_workers(config.workers)
    classes = streams[0].classes
    groups = {} if config.groups is None else read_groups(config.groups, classes)
    shown = {one.stream: views_of(one, dataset, config, asked) for one in streams}
    file = config.output or _default_output(next(path for path in given.values() if path), config)
    _require_writable(file)
    several = any(clips.actions for clips in shown.values())
    scores: dict[str, Any]
    found: dict[str, Predictions] = {}
    if several:
        device = device_here()
        loaders = {stream: loaders_of(clips, config, device) for stream, clips in shown.items()}
        scores = action_scores(
            {one.stream: video_logits(one, shown[one.stream], loaders[one.stream], device) for one in streams}
        )
    else:
        for one in streams:
            found |= predictions_of(one, shown[one.stream], config, asked)
        if len(streams) == 2:
            with as_user_errors():
                found["fused"] = fuse(found["rgb"], found["flow"], config.fuse)
        scores = {name: _scores(predictions, classes, groups) for name, predictions in found.items()}
    results = {
        "command": "evaluate",
        "config": as_record(config),
        "dataset": {"uri": dataset.store.uri, "fingerprint": fingerprint(dataset).to_json()},
        "coverage": _coverage(dataset, config.split, classes, asked),
        "checkpoints": {
            one.stream: {
                "path": str(one.path.absolute()),
                "sha256": one.sha256,
                "step": one.checkpoint.metadata.get("step"),
                "trained_on": one.fingerprint,
                "footprint": footprints(one, shown[one.stream].lengths().tolist()),
            }
            for one in streams
        },
        "classes": classes,
        "warnings": warnings,
        "scores": scores,
        "versions": versions(),
    }
    _write(file, results, found)
    return EvaluateResult(file, results)


def _default_output(given: Path, config: EvaluateConfig) -> Path:
    """The file for the results: in the folder of the run or checkpoint, named for what was scored and how."""
    how = "" if config.views == "whole" and not config.mirrored else f"-{config.views}{'-mirrored' * config.mirrored}"
    how += f"-crops{config.crops}" if config.crops else ""
    how += f"-stride{config.stride}" if config.stride else ""
    return (given if given.is_dir() else given.parent) / f"evaluation-{config.split}{how}.json"


def _require_comparable(streams: Sequence[Trained], dataset: Dataset, config: EvaluateConfig) -> None:
    for one in streams:
        if one.stream != "rgb" and dataset.recipe.flow == "none":
            raise UserError(f"--{one.stream} is given, but {dataset.store.uri} was built without flow")
        if not config.any_recipe:
            one.require_recipe(dataset.recipe, dataset.store.uri)
        one.require_classes(dataset.classes, dataset.store.uri)
    for one in streams[1:]:
        if one.classes != streams[0].classes:
            raise UserError(
                f"{streams[0].path} and {one.path} know {len(streams[0].classes)} and {len(one.classes)} classes, not "
                "the same ones in the same order; streams that are fused are trained on one class list"
            )


def _clip_ids(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"--clips is {file}, which cannot be read: {reason}") from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"--clips is {file}, which names no clip; allowed: a clip id a line")
    return ids


def _coverage(
    dataset: Dataset, split: str, classes: Sequence[str], asked: Sequence[str] | None
) -> dict[str, dict[str, int] | int]:
    """Counts the clips that the split has (or `--clips` names), and those of them that are in the dataset, by class."""
    wanted = None if asked is None else set(asked)
    rows = dataset.newest(lambda marker, entry: (marker.split, entry["label"], entry["outcome"]))
    if not any(of == split for of, _, _ in rows.values()):  # a list of the annotations, as `test1`
        lists = joined(dataset, "lists", rows)
        rows = {clip: (split, *rows[clip][1:]) for clip, names in lists.items() if split in names.split()}
    total: Counter[str] = Counter()
    ok: Counter[str] = Counter()
    for clip, (of, label, outcome) in rows.items():
        if of == split and label in classes and (wanted is None or clip in wanted):
            total[label] += 1
            ok[label] += outcome == "ok"
    known = total.total() if wanted is None else len(wanted)
    by_class = {name: {"asked": total[name], "ok": ok[name]} for name in classes}
    return {"asked": known, "ok": ok.total(), "by_class": by_class}  # type: ignore[dict-item]


def _scores(predictions: Predictions, classes: Sequence[str], groups: dict[str, list[str]]) -> dict[str, Any]:
    accuracy = [None if math.isnan(value) else round(float(value), 6) for value in per_class(predictions)]
    return {
        "clips": len(predictions.labels),
        "top1": top_k(predictions, 1),
        "top5": top_k(predictions, 5),
        "mean_class": mean_class_accuracy(predictions),
        "mean_error": mean_error(predictions),
        **({"groups": group_scores(predictions, classes, groups)} if groups else {}),
        "per_class": dict(zip(classes, accuracy, strict=True)),
        "confusion": confusion(predictions).tolist(),
    }


def _require_writable(file: Path) -> None:
    """Checks that the file can be written, before hours of work. Raises UserError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(f"--output is {file}, which cannot be written: {error.strerror}") from error
    if file.is_dir():
        raise UserError(f"--output is {file}, which is a folder; allowed: a file")


def _write(file: Path, results: dict[str, Any], found: dict[str, Predictions]) -> None:
    try:
        write_json(file, results)
        if found:
            write_predictions(file, found, results["classes"])
    except OSError as error:
        raise UserError(f"--output is {file}, which cannot be written: {error.strerror}") from error
