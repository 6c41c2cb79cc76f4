"""Which clips of a dataset are asked for: a split, classes, ids, the first few examples of each class.

What the plans say of clips beside one label is joined here: the lists they are on (UCF-101, HMDB-51), and their actions
(Charades).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.annotations.charades import parse_actions
from kinetics_pipeline.dataset.certificate import read_certificate
from kinetics_pipeline.dataset.dataset import Dataset, require_among_classes
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading.arguments import texts, whole_number
from kinetics_pipeline.redaction import counted

_NAMED = 3
"""Unknown ids that a message names; it counts the others."""


class NoSuchSplit(UserError):
    """A split that the dataset does not have. Its arguments are the split asked for and, in words, what is there."""

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
    label that is none of the dataset's. Ids of `clips` that the dataset does not hold are passed over: `unknown` names
    them. A clip with several labels is chosen when it has one of `classes`; when these are all classes, so are the
    clips in which no action happens.
    """
    numbers = pc.index_in(index["label"], pa.array(dataset.classes, pa.string()))
    damaged = index.filter(pc.and_(pc.is_null(numbers), pc.is_valid(index["label"])))
    if len(damaged):
        clip, label = damaged["clip_id"][0], damaged["label"][0]
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
        several = _with_actions(actions_of(index, dataset), named, dataset.classes)
        index = index.filter(pc.or_(asked, pc.is_in(index["clip_id"], pa.array(several, pa.string()))))
    if clips is not None:
        index = index.filter(pc.is_in(index["clip_id"], pa.array(ids_of(clips), pa.string())))
    if examples_per_class is not None:
        most = whole_number("examples_per_class", examples_per_class, 1)
        index = index.filter(pa.array(_place_in_class(index["class"].to_numpy()) < most))
    if not len(index):
        raise UserError(f"no clip of {dataset.store.uri} is left by this choice of split, classes and clips")
    return index.combine_chunks()


def require_labelled(index: pa.Table, dataset: Dataset) -> tuple[pa.Table, int]:
    """The clips of `index` that have a label, and how many have none. Raises UserError when no clip is left."""
    labelled = index.filter(pc.greater_equal(index["class"], 0))
    if not len(labelled):
        raise UserError(f"no clip chosen from {dataset.store.uri} has a label; nothing can be learned or scored")
    return labelled, len(index) - len(labelled)


def renumbered(index: pa.Table, classes: Sequence[str], chosen: Collection[str]) -> tuple[list[str], pa.Table]:
    """The chosen of `classes` in their order, and `index` with the positions among these in its column `class`."""
    kept = [label for label in classes if label in set(chosen)]
    numbers = np.full(len(classes) + 1, -1, np.int32)  # the last is that of -1
    numbers[[classes.index(label) for label in kept]] = np.arange(len(kept))
    column = pa.array(numbers[index["class"].to_numpy()])
    return kept, index.set_column(index.schema.get_field_index("class"), "class", column)


def joined(dataset: Dataset, column: Literal["lists", "actions"], clips: Collection[str]) -> dict[str, str]:
    """The plans' column of those of `clips` that have it, by clip_id; the newest plan counts."""
    wanted, found = set(clips), {}
    for _, plan in sorted(dataset.plans().items()):
        if column in plan.table.column_names:
            for clip, value in zip(plan.clip_ids(), plan.table[column].to_pylist(), strict=True):
                if value is not None and clip in wanted:
                    found[clip] = value
    return found


def _with_actions(actions: dict[str, str], chosen: Collection[str], classes: Collection[str]) -> list[str]:
    """The ids of `actions` in which one of the chosen classes happens; every id when all classes are chosen."""
    wanted = set(chosen)
    if wanted.issuperset(classes):
        return sorted(actions)
    return sorted(clip for clip, text in actions.items() if any(act.label in wanted for act in parse_actions(text)))


def actions_of(index: pa.Table, dataset: Dataset) -> dict[str, str]:
    """The actions of the clips of `index` that have several labels, each in its time (Charades); by clip_id."""
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


def ids_of(clips: Collection[str] | str | Path) -> list[str]:
    """The ids, sorted; of a file with one a line, or the survivors of a certificate. Raises UserError."""
    return texts("clips", _ids_in(clips) if isinstance(clips, str | Path) else clips)


def unknown(ids: Collection[str], index: pa.Table, dataset: Dataset) -> list[str]:
    """The `ids` of which the dataset holds no clip that is ok, sorted. Warns of them in a line that names some."""
    missing = sorted(set(ids).difference(index["clip_id"].to_pylist()))
    if missing:
        named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        warnings.warn(
            f"clips names {counted(len(missing), 'id')} of which {dataset.store.uri} holds no clip that is ok: {named}",
            stacklevel=3,
        )
    return missing


def _ids_in(file: str | Path) -> set[str]:
    """The clip ids that a file lists, one a line or in a certificate. Raises UserError when it cannot be read."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"clips: {file} cannot be read: {e.strerror if isinstance(e, OSError) else e}") from None
    if lines and lines[0].startswith("{"):
        return read_certificate(Path(file)).survivors()
    return {line.strip() for line in lines if line.strip()}


def _place_in_class(classes: np.ndarray) -> np.ndarray:
    """How many clips of the same class come before each clip."""
    order = np.argsort(classes, kind="stable")
    begins = np.flatnonzero(np.diff(classes[order], prepend=-2))
    lengths = np.diff(np.append(begins, len(order)))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.repeat(begins, lengths)
    return places
