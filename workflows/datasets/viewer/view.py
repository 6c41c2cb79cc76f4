"""What the viewer knows of a dataset and of the runs that were scored on it, as documents for the browser."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.records import CLIP_ID
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.shards.markers import Marker, marker_name, parse_marker, shard_of
from kinetics_pipeline.workflows.datasets.viewer.catalogue import Choice, place_of
from kinetics_pipeline.workflows.datasets.viewer.frames import ClipPictures
from kinetics_pipeline.workflows.datasets.viewer.marks import read_marks, write_marks
from kinetics_pipeline.workflows.datasets.viewer.predictions import Scored, Wanted, read_predictions
from kinetics_pipeline.workflows.datasets.viewer.reading import ClipReading

PAGE = 48
"""Clips of a page."""
MOST_MARKED = 100_000


class DatasetView:
    """One dataset, and what was predicted of its clips. Every method may be called by several threads."""

    def __init__(self, dataset: Dataset, predictions: Sequence[Path], marks: Path) -> None:
        """Raises UserError where a file cannot be read, or the list of marked clips not be kept."""
        self.dataset = dataset
        self.pictures = ClipPictures(dataset)
        self.reading = ClipReading(dataset)
        self._scored: list[Scored] = [one for file in predictions for one in read_predictions(file)]
        self._marks_file = marks
        self._marked = read_marks(marks)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Starts to read the clips; again, where they were read."""
        self.reading.begin()

    # Documents

    def about(self) -> dict[str, Any]:
        """The dataset, how far its clips are read, and once they are, their counts."""
        dataset, recipe = self.dataset, self.dataset.recipe
        about = {
            "name": visible(dataset.store.uri.rstrip("/").rpartition("/")[2] or dataset.store.uri),
            "place": visible(dataset.store.uri),
            "fps": recipe.fps,
            "streams": self.pictures.streams(),
            "layout": recipe.layout,
            "chunk_length": recipe.chunk_length,
            "page": PAGE,
            "classes": [visible(label) for label in dataset.classes],
            "scored": [
                {"name": visible(one.name), "classes": [visible(label) for label in one.classes]}
                for one in self._scored
            ],
        }
        try:
            catalogue = self.reading.catalogue()
        except WorkRemains:
            return {**about, "ready": False, **self.reading.progress()}
        return {**about, "ready": True, "counts": catalogue.counts(), "marks": self.marks()}

    def news(self) -> dict[str, Any]:
        """See `ClipReading.news`."""
        return self.reading.news()

    def read_again(self) -> dict[str, Any]:
        """Starts to read the clips again; the news then."""
        self.reading.begin()
        return self.reading.news()

    def clips(self, choice: Choice, first: int, scored: int | None, wanted: Wanted) -> dict[str, Any]:
        """A page of clips from the `first` on: those that are wanted, in order; with `scored` the surest first."""
        return self._page(choice, first, scored, wanted, None)

    def cell(self, first: int, scored: int, cell: tuple[int, int]) -> dict[str, Any]:
        """A page of the clips of one class that were taken for another: numbers of the classes of `scored`."""
        return self._page(Choice(), first, scored, "all", cell)

    def _page(
        self, choice: Choice, first: int, scored: int | None, wanted: Wanted, cell: tuple[int, int] | None
    ) -> dict[str, Any]:
        catalogue = self.reading.catalogue()
        rows = catalogue.chosen(choice)
        said: dict[int, dict[str, Any]] = {}
        if scored is not None:
            one = self._one(scored)
            places = one.chosen(wanted, cell)
            found = catalogue.rows_of(one.clip_ids.take(pa.array(places)))
            kept = pc.is_in(pa.array(found), pa.array(rows)).to_numpy(zero_copy_only=False)
            places, rows = places[kept], found[kept]
            said = {
                number: {"predicted": visible(one.classes[one.predicted[place]]), "sure": float(one.confidence[place])}
                for number, place in enumerate(places[first : first + PAGE].tolist())
            }
        shown = catalogue.told(rows[first : first + PAGE])
        clips = [{**_told(clip), **said.get(number, {})} for number, clip in enumerate(shown)]
        return {"total": len(rows), "first": first, "clips": clips}

    def cells(self, scored: int) -> dict[str, Any]:
        """Which classes are taken for which, and how often."""
        return {"cells": self._one(scored).cells()}

    def clip(self, name: str) -> dict[str, Any]:
        """All that is known of a clip, by its id or that of a video with one clip: the record as its marker has it, its
        shard, and what networks said. Raises UserError for a clip that is not there."""
        row = self._row(name)
        marker = self._marker(shard_of(row["file"]))
        record = next((entry for entry in marker.clips if entry["clip_id"] == row["clip_id"]), None)
        if record is None:
            raise UserError(f"clip {row['clip_id']} is no longer in shard {marker.shard}")
        predictions = []
        for one in self._scored:
            place = pc.index(one.clip_ids, row["clip_id"]).as_py()
            if place >= 0:
                predicted = visible(one.classes[one.predicted[place]])
                predictions.append(
                    {"name": visible(one.name), "predicted": predicted, "sure": float(one.confidence[place])}
                )
        told = {key: visible(value) if isinstance(value, str) else value for key, value in record.items()}
        shard = {"shard": marker.shard, "plan": marker.plan, "bytes": marker.bytes, "sha256": marker.sha256}
        return {**_told(row), "record": told, "shard": shard, "predictions": predictions}

    def middle(self, name: str) -> bytes:
        """See `ClipPictures.middle`. Raises UserError for a clip without frames."""
        return self.pictures.middle(place_of(self._row(name)))

    def chunk(self, name: str, chunk: int) -> bytes:
        """See `ClipPictures.chunk`. Raises UserError for a clip without frames."""
        return self.pictures.chunk(place_of(self._row(name)), chunk)

    def marks(self) -> dict[str, Any]:
        """The marked clips that are there, and what may be done with the file of them."""
        catalogue = self.reading.catalogue()
        rows = catalogue.rows_of(pa.array(self._marked, pa.string()))
        ids = [one for one, row in zip(self._marked, rows.tolist(), strict=True) if row >= 0]
        splits = catalogue.splits_of(rows[rows >= 0])
        place, file = shlex.quote(self.dataset.store.uri), shlex.quote(str(self._marks_file))
        commands = [
            *(f"kinetics-pipeline evaluate {place} --split {split} --rgb RUN --clips {file}" for split in splits),
            f"kinetics-pipeline tools export {place} --format mp4 --to FOLDER --ids {file}",
            f"kinetics-pipeline tools forget {place} --ids {file} --reason REASON",
        ]
        return {"ids": ids, "file": visible(str(self._marks_file)), "commands": [visible(line) for line in commands]}

    def mark(self, add: Any, remove: Any) -> dict[str, Any]:
        """Adds clips to the marked ones and takes others from them. Raises UserError for what are not clip ids."""
        for ids in (add, remove):
            if not isinstance(ids, list) or not all(isinstance(one, str) and CLIP_ID.fullmatch(one) for one in ids):
                raise UserError("marked clips are not a list of clip ids")
        with self._lock:
            gone = set(remove)
            kept = [one for one in dict.fromkeys([*self._marked, *add]) if one not in gone]
            if len(kept) > MOST_MARKED:
                raise UserError(f"{counted(len(kept), 'clip is', 'clips are')} marked; allowed: up to {MOST_MARKED}")
            write_marks(self._marks_file, kept)
            self._marked = kept
        return self.marks()

    def _one(self, scored: int) -> Scored:
        if not 0 <= scored < len(self._scored):
            raise UserError(f"there is no run number {scored}")
        return self._scored[scored]

    def _row(self, name: str) -> dict[str, Any]:
        row = self.reading.catalogue().row(name)
        if row is None:
            raise UserError(f"there is no clip {name[:160]!r}, and no video of that id with one clip")
        return row

    def _marker(self, shard: str) -> Marker:
        name = marker_name(shard)
        try:
            return parse_marker(f"{self.dataset.store.uri}/{name}", self.dataset.store.read(name))
        except FileNotFoundError:
            raise UserError(f"shard {shard} is no longer there") from None


def _told(clip: Mapping[str, Any]) -> dict[str, Any]:
    """A clip of the catalogue for a page."""
    names = ("clip_id", "video_id", "split", "outcome", "frames", "class", "time_start", "source_fps", "repeated")
    return {
        **{name: clip[name] for name in names},
        "label": visible(clip["label"] or ""),
        "detail": visible(clip["detail"] or "")[:500],
    }
