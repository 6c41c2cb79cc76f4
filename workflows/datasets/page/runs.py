"""What there is to say of training runs: curves, scores and confusions, as a document for a page.

What a run's folder holds may come from a stranger: only what has the form that is told here is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from kinetics_pipeline.dataset.dataset import DATASET, Dataset
from kinetics_pipeline.dataset.fingerprint import Fingerprint
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.datasets.viewer.predictions import SUFFIX

MOST_RUNS = 12
"""Runs told, those that were written last."""
MOST_POINTS = 400
"""Points of a curve: of more steps several are one, their mean."""
MOST_CELLS = 5000
"""Pairs of classes told of one network, those of most clips."""
MOST_RESULTS = 12
"""Evaluations told of one run, those that were written last."""
_MOST_LOOKED = 2000
"""Folders beside a dataset that are looked into."""
_LARGEST = 256 << 20
"""Bytes of a file of results that is read: with 700 classes one has some MB."""
_LONGEST_LINE = 1 << 20
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
T = TypeVar("T")
SCORES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "mean_class": "Mean class",
    "classification_map": "Classification mAP",
    "localisation_map": "Localisation mAP",
}
"""The scores of an evaluation, and what they are called."""


class _TrainedOn(msgspec.Struct):
    fingerprint: Fingerprint
    uri: str | None = None


class _Flags(msgspec.Struct):
    model: str = ""
    stream: str = ""


class _Config(msgspec.Struct):
    """What is read of a run's `config.json`."""

    dataset: _TrainedOn
    config: _Flags


class _Line(msgspec.Struct):
    """A line of a run's `metrics.jsonl`."""

    kind: str
    step: _Count = 0
    loss: float | None = None
    top1: _Share | None = None
    classification_map: _Share | None = None


class _Score(msgspec.Struct):
    clips: _Count = 0
    videos: _Count = 0
    top1: _Share | None = None
    top5: _Share | None = None
    mean_class: _Share | None = None
    classification_map: _Share | None = None
    localisation_map: _Share | None = None
    confusion: list[list[_Count]] | None = None


class _Checkpoint(msgspec.Struct):
    path: str


class _Evaluation(msgspec.Struct):
    """What is read of the results of `evaluate`."""

    scores: dict[str, _Score]
    classes: list[str]
    config: dict[str, Any]
    dataset: _TrainedOn
    checkpoints: dict[str, _Checkpoint] = {}

    def is_of(self, run: Path) -> bool:
        """Whether the run, or a checkpoint in it, was scored."""
        return any(Path(one.path).is_relative_to(run.absolute()) for one in self.checkpoints.values())


def find_runs(dataset: Dataset) -> list[Path]:
    """The folders of runs that were trained on the dataset, or on an earlier state of it, and lie beside it on this
    machine: in the folder that it lies in, or one folder below that."""
    root = dataset.store.local_path("")
    if root is None:
        return []
    found = []
    for config in _configs(Path(root).absolute().parent):
        with suppress(UserError):
            if _is_of(_read(config, _Config).dataset, dataset):
                found.append(config)
    newest = sorted(found, key=lambda config: -config.stat().st_mtime)[:MOST_RUNS]
    return [config.parent for config in newest]


def _configs(folder: Path) -> Iterator[Path]:
    """The `config.json` of some folders within the folder, and of some within those."""
    beside = list(islice(_folders(folder), _MOST_LOOKED))
    below = islice((inner for one in beside if not (one / DATASET).exists() for inner in _folders(one)), _MOST_LOOKED)
    for one in (*beside, *below):
        with suppress(OSError):
            if (one / "config.json").is_file():
                yield one / "config.json"


def _folders(folder: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in islice(entries, _MOST_LOOKED) if entry.is_dir())


def _is_of(trained_on: _TrainedOn, dataset: Dataset) -> bool:
    return trained_on.uri is not None and _place(trained_on.uri) == _place(dataset.store.uri)


def _place(uri: str) -> str:
    return uri.rstrip("/") if "://" in uri else str(Path(uri).resolve())


def find_results(dataset: Dataset) -> list[Path]:
    """Files of results that `evaluate --output` may have written beside the dataset, with predictions beside them."""
    root = dataset.store.local_path("")
    return [] if root is None else _evaluations(Path(root).absolute().parent)


def runs_of(dataset: Dataset, runs: Sequence[Path], fingerprint: Mapping[str, str]) -> list[dict[str, Any]]:
    """`run_facts` of these runs, or of those beside the dataset; results beside it are told with the first of theirs.

    Raises UserError for a folder that is not a run's.
    """
    left = find_results(dataset)
    return [run_facts(run, fingerprint, left) for run in runs or find_runs(dataset)]


def run_facts(
    folder: Path, fingerprint: Mapping[str, str] | None = None, results: list[Path] | None = None
) -> dict[str, Any]:
    """What there is to say of one run. `fingerprint`: of the dataset that the page is about. `results`: files that
    lie elsewhere; those of the run are told, and taken from the list.

    Raises UserError for a folder that is not a run's.
    """
    config = _read(folder / "config.json", _Config)
    lines = list(_lines(folder / "metrics.jsonl"))
    steps = [(line.step, line.loss, line.top1) for line in lines if line.kind == "step"]
    tests = [
        (line.step, line.loss, line.classification_map if line.top1 is None else line.top1)
        for line in lines
        if line.kind == "evaluation"
    ]
    return {
        "name": folder.resolve().name,
        "model": config.config.model,
        "stream": config.config.stream,
        "steps": steps[-1][0] if steps else 0,
        "trained_on": _same(config.dataset.fingerprint.to_json(), fingerprint),
        "training": _thinned(steps),
        "validation": _thinned(tests),
        "results": list(_results(folder, fingerprint, [] if results is None else results)),
    }


def _same(mine: Mapping[str, str], theirs: Mapping[str, str] | None) -> str:
    if theirs is None:
        return ""
    differs = [name for name, value in mine.items() if theirs.get(name) != value]
    return f"another state of the dataset: {', '.join(differs)} differ" if differs else "the dataset as it is now"


def _lines(metrics: Path) -> Iterator[_Line]:
    """The lines that have the form of one, in order."""
    decode = msgspec.json.Decoder(_Line).decode
    with suppress(OSError), metrics.open("rb") as file:
        while text := file.readline(_LONGEST_LINE):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                yield decode(text)


def _thinned(points: Sequence[tuple[int, float | None, float | None]]) -> list[list[float | None]]:
    """[step, loss, score] of at most `MOST_POINTS` points; of several steps the last step and the means."""
    at_once = max(1, -(-len(points) // MOST_POINTS))
    found = []
    for first in range(0, len(points), at_once):
        part = points[first : first + at_once]
        found.append([part[-1][0], *(_mean(point[place] for point in part) for place in (1, 2))])
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 5) if known else None


def _evaluations(folder: Path) -> list[Path]:
    """Results by the names that `evaluate` gives them, or with predictions beside them."""
    names = [file.name.removesuffix(SUFFIX) + ".json" for file in folder.glob(f"*{SUFFIX}")]
    named = {folder / name for name in names} | set(folder.glob("evaluation-*.json"))
    files = [file for file in named if file.is_file()]
    return sorted(files, key=lambda file: -file.stat().st_mtime)[:MOST_RESULTS]


def _results(run: Path, fingerprint: Mapping[str, str] | None, others: list[Path]) -> Iterator[dict[str, Any]]:
    for file in (*_evaluations(run), *others[:]):
        with suppress(UserError):  # it is not one of ours
            read = _read(file, _Evaluation)
            if file in others and not read.is_of(run):
                continue
            yield _result(file, read, fingerprint)
            if file in others:
                others.remove(file)


def _result(file: Path, read: _Evaluation, fingerprint: Mapping[str, str] | None) -> dict[str, Any]:
    """What an evaluation found. Raises UserError for a confusion that is not of its classes."""
    return {
        "name": file.stem,
        "split": str(read.config.get("split", ""))[:200],
        "scored_on": _same(read.dataset.fingerprint.to_json(), fingerprint),
        "classes": read.classes,
        "scores": [_score(stream, score, len(read.classes), file) for stream, score in read.scores.items()],
    }


def _score(stream: str, score: _Score, classes: int, file: Path) -> dict[str, Any]:
    rows = score.confusion
    if rows is not None and (len(rows) != classes or any(len(row) != classes for row in rows)):
        raise UserError(f"{file} cannot be read: its confusion is not of its {classes} classes")
    asked = [sum(row) for row in rows or []]
    cells = [[true, said, clips] for true, row in enumerate(rows or []) for said, clips in enumerate(row) if clips]
    most = sorted(cells, key=lambda cell: -cell[2])[:MOST_CELLS]
    return {
        "stream": stream,
        "clips": score.clips or score.videos,
        **{name: getattr(score, name) for name in SCORES},
        "asked": asked,
        "cells": most,
        "more_cells": len(cells) - len(most),
    }


def _read(file: Path, kind: type[T]) -> T:
    """Raises UserError."""
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
