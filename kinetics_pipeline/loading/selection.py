"""Which clips of a dataset are asked for: a split, classes, ids, the first few examples of each class."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.dataset.certificate import read_certificate
from kinetics_pipeline.dataset.dataset import Dataset, require_among_classes
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading.arguments import texts, whole_number
from kinetics_pipeline.loading.joined import joined


class NoSuchSplit(UserError):
    """Of the split asked for, and what is there in words."""

    def __str__(self) -> str:
        split, there = self.args
        return f"split is {split!r}; {there}"


def select(
    index: pa.Table,
    dataset: Dataset,
    split: str | None,
    classes: Collection[str] | None,
    clips: Collection[str] | str | Path | None,
    examples_per_class: int | None,
) -> pa.Table:
    """The rows of `index` (`load_index`'s) that are asked for, in its order, with a column `class`, int32.

    Raises NoSuchSplit, UserError for a class that there is not and when no clip is left, JobFailed when a clip has a
    label that is none of the dataset's. Ids of `clips` that the dataset does not hold are passed over: what is taken is
    what both have.
    """
    numbers = pc.index_in(index["label"], pa.array(dataset.classes, pa.string()))
    unknown = index.filter(pc.and_(pc.is_null(numbers), pc.is_valid(index["label"])))
    if len(unknown):
        clip, label = unknown["clip_id"][0], unknown["label"][0]
        raise JobFailed(f"{dataset.store.uri} is damaged: label {label} of clip {clip} is none of its classes")
    index = index.append_column("class", pc.fill_null(numbers, -1).cast(pa.int32()))
    if not len(index):
        raise UserError(f"{dataset.store.uri} holds no clip that is ok in a committed shard: build it first")
    if split is not None:
        there = sorted(set(index["split"].unique().to_pylist()))
        if split in there:
            index = index.filter(pc.equal(index["split"], split))
        else:
            index = _on_list(index, dataset, split, there)
    if classes is not None:
        named = texts("classes", classes)
        require_among_classes(dataset, named)
        asked = pc.is_in(index["label"], pa.array(named, pa.string()))
        several = actions_of(index, dataset)  # such clips have no one class to be chosen by
        index = index.filter(pc.or_(asked, pc.is_in(index["clip_id"], pa.array(sorted(several), pa.string()))))
    if clips is not None:
        ids = texts("clips", _ids(clips) if isinstance(clips, str | Path) else clips)
        index = index.filter(pc.is_in(index["clip_id"], pa.array(ids, pa.string())))
    if examples_per_class is not None:
        most = whole_number("examples_per_class", examples_per_class, 1)
        index = index.filter(pa.array(_place_in_class(index["class"].to_numpy()) < most))
    if not len(index):
        raise UserError(f"no clip of {dataset.store.uri} is left by this choice of split, classes and clips")
    return index.combine_chunks()


def actions_of(index: pa.Table, dataset: Dataset) -> dict[str, str]:
    """By clip_id, of the clips of `index` that have several labels, each in its time (Charades); mostly none."""
    unlabelled = index.filter(pc.is_null(index["label"]))
    return joined(dataset, "actions", unlabelled["clip_id"].to_pylist()) if len(unlabelled) else {}


def _on_list(index: pa.Table, dataset: Dataset, name: str, splits: list[str]) -> pa.Table:
    """The clips on a list of the annotations, as `train1`: one of several ways to part a dataset."""
    lists = joined(dataset, "lists", index["clip_id"].to_pylist())
    on = {clip: set(names.split()) for clip, names in lists.items()}
    if not any(name in names for names in on.values()):
        allowed = splits + sorted(set().union(*on.values()))
        raise NoSuchSplit(name, f"{dataset.store.uri} holds {', '.join(allowed)}")
    chosen = [name in on.get(clip, ()) for clip in index["clip_id"].to_pylist()]
    return index.filter(pa.array(chosen, pa.bool_()))


def _ids(file: str | Path) -> set[str]:
    """Of a file with one a line, or a certificate: its survivors."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"clips: {file} cannot be read: {e.strerror if isinstance(e, OSError) else e}") from None
    if lines and lines[0].startswith("{"):
        return read_certificate(Path(file)).survivors()
    return {line.strip() for line in lines if line.strip()}


def _place_in_class(classes: np.ndarray) -> np.ndarray:
    """For every clip, how many of its class come before it."""
    order = np.argsort(classes, kind="stable")
    begins = np.flatnonzero(np.diff(classes[order], prepend=-2))
    lengths = np.diff(np.append(begins, len(order)))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.repeat(begins, lengths)
    return places
