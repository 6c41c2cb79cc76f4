"""The clips of a dataset as one table that is filtered and paged; clips that were withdrawn are not in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.kept_table import KeptTable
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.shard_reader import Place
from kinetics_pipeline.shards.markers import SHARD_NAME, Marker, shard_of

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "video_id", "label", "split", "file", "outcome", "detail")),
        *((name, pa.float64()) for name in ("time_start", "time_end", "source_fps")),
        *((name, pa.int32()) for name in ("first_row", "position", "frames", "height", "width", "repeated")),
    ]
)
_OF_FRAMES = ("first_row", "position", "frames", "height", "width")
_NEEDED = ("clip_id", "video_id", "split", "file", "outcome")
UNLABELLED = -1
"""Stands for clips without a label where a class number is asked for."""


@dataclass(frozen=True)
class Choice:
    """Which clips are wanted. None: all."""

    class_number: int | None = None
    split: str | None = None
    outcome: str | None = None
    search: str = ""
    """Part of a clip id, or of a label; small and large letters are the same."""


class Catalogue:
    """The newest record of each clip, in the order of shards."""

    def __init__(self, table: pa.Table, classes: Collection[str], withdrawn: Collection[str] = ()) -> None:
        gone = pc.equal(table["outcome"], "withdrawn")
        if withdrawn:
            ids = pa.array(list(withdrawn), pa.string())
            gone = pc.or_(gone, pc.or_(pc.is_in(table["clip_id"], ids), pc.is_in(table["video_id"], ids)))
        self._table = table.filter(pc.invert(gone)) if pc.any(gone).as_py() else table
        self._labels = [label.lower() for label in classes]
        numbers = pc.index_in(self._table["label"], pa.array(list(classes), pa.string()))
        self._classes = pc.fill_null(numbers, UNLABELLED).to_numpy()
        self._lower_ids = pc.ascii_lower(self._table["clip_id"])
        self._counts: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._table)

    def chosen(self, choice: Choice) -> NDArray[np.int64]:
        """The rows of the clips that are wanted, in order."""
        keep = np.ones(len(self), np.bool_)
        if choice.class_number is not None:
            keep &= self._classes == choice.class_number
        for name, value in (("split", choice.split), ("outcome", choice.outcome)):
            if value is not None:
                keep &= pc.equal(self._table[name], value).to_numpy()
        if choice.search:
            text = choice.search.lower()
            named = np.array([*(text in label for label in self._labels), False])  # the last is of no label
            keep &= pc.match_substring(self._lower_ids, text).to_numpy() | named[self._classes]
        return np.flatnonzero(keep)

    def rows_of(self, clip_ids: pa.Array) -> NDArray[np.int64]:
        """The row of each clip id; -1 for a clip that is not here."""
        mine = np.flatnonzero(pc.is_in(self._table["clip_id"], clip_ids).to_numpy())
        places = pc.index_in(clip_ids, self._table["clip_id"].take(pa.array(mine)).combine_chunks())
        found = np.asarray(pc.fill_null(places, -1).to_numpy(zero_copy_only=False), np.int64)
        return np.where(found >= 0, np.append(mine, -1)[found], -1)

    def splits_of(self, rows: NDArray[np.int64]) -> list[str]:
        """The splits that some clips are of."""
        return sorted(self._table["split"].take(pa.array(rows)).unique().to_pylist())

    def row(self, name: str) -> dict[str, Any] | None:
        """The clip with this id, or the one clip of the video with this id."""
        for column in ("clip_id", "video_id"):
            rows = np.flatnonzero(pc.equal(self._table[column], name).to_numpy())
            if len(rows) == 1:
                return next(self.told(rows))
        return None

    def told(self, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        """What is known of some clips, with `class`: the number of the label."""
        for row, entry in zip(rows.tolist(), self._table.take(pa.array(rows)).to_pylist(), strict=True):
            yield {**entry, "class": int(self._classes[row])}

    def counts(self) -> dict[str, Any]:
        """Clips by split, by outcome and by class: of each class number, UNLABELLED among them, all and those `ok`."""
        if self._counts is None:
            ok = pc.equal(self._table["outcome"], "ok").to_numpy()
            asked = np.bincount(self._classes + 1, minlength=len(self._labels) + 1)
            good = np.bincount(self._classes[ok] + 1, minlength=len(self._labels) + 1)
            self._counts = {
                "clips": len(self),
                "splits": self._counted("split"),
                "outcomes": self._counted("outcome"),
                "asked": asked.tolist(),
                "ok": good.tolist(),
            }
        return self._counts

    def _counted(self, column: str) -> dict[str, int]:
        counts = pc.value_counts(self._table[column]).to_pylist()
        return {one["values"]: one["counts"] for one in sorted(counts, key=lambda one: (-one["counts"], one["values"]))}


def place_of(clip: Mapping[str, Any]) -> Place:
    """Where the frames of a clip lie, given as `told` tells it. Raises UserError for a clip without frames."""
    if clip["outcome"] != "ok" or any(clip[name] is None or clip[name] < 0 for name in _OF_FRAMES):
        raise UserError(f"clip {clip['clip_id']} has no frames: its outcome is {clip['outcome']}")
    return Place.of({**clip, "shard": clip["file"]})


def load_table(dataset: Dataset, seen: Callable[[Marker], object]) -> pa.Table:
    """The newest record of each clip, for a Catalogue; `seen` is told every marker that is read.

    Comes from what is kept beside the dataset unless a marker changed since. Raises JobFailed for a damaged marker.
    """
    return _KEPT.load(dataset, lambda: dataset.newest_table(_SCHEMA, seen=seen))


def _is_possible(table: pa.Table) -> bool:
    """Whether a build can have written these rows; numbers are checked when a shard is read by them."""
    if any(table[name].null_count for name in _NEEDED):
        return False
    return all(SHARD_NAME.fullmatch(shard_of(name)) for name in table["file"].unique().to_pylist())


_KEPT = KeptTable("state/records-1.arrow", _SCHEMA, _is_possible, "zstd")
