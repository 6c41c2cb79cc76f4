"""`ClipDataset`: the clips of a dataset as torch samples, of which only the chunks and streams needed are read."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import get_worker_info

from kinetics_pipeline.annotations.charades import parse_actions, targets
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading import shown
from kinetics_pipeline.loading.arguments import whole_number
from kinetics_pipeline.loading.batches import Batch, named_when_stacked
from kinetics_pipeline.loading.clip_frames import ClipFrames
from kinetics_pipeline.loading.copies import CopyAhead
from kinetics_pipeline.loading.decoding import StoredStream
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.options import ClipOptions, Stream, require_arguments, require_size, with_defaults
from kinetics_pipeline.loading.selection import actions_of, ids_of, renumbered, require_labelled, select, unknown
from kinetics_pipeline.loading.shard_reader import Place
from kinetics_pipeline.loading.snippets import Snippet, central_snippet, frame_numbers, places, random_snippet
from kinetics_pipeline.loading.transforms import finished, transformed

__all__ = ["ClipDataset", "ClipOptions", "EpochIndex", "Stream"]

_NAMES = ("shard", "clip_id")
_NUMBERS = ("class", "first_row", "position", "frames", "height", "width")
_NO_EPOCH = torch.iinfo(torch.int64).min
_FIRST_DRAW = 2**40
"""Draws without an epoch are numbered from here: no epoch is so high."""


class EpochIndex(int):
    """The number of a sample together with its epoch: so a worker process that lives through several epochs knows it.

    `shards` names the shards of a remote dataset that the sampler takes now and next.
    """

    epoch: int
    shards: tuple[str, ...]

    def __new__(cls, index: int, epoch: int, shards: tuple[str, ...] = ()) -> EpochIndex:
        self = super().__new__(cls, index)
        self.epoch, self.shards = epoch, shards
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return EpochIndex, (int(self), self.epoch, self.shards)


class ClipDataset(TorchDataset[dict[str, Any]]):
    """Map style; a sample is `{"video": [C, T, H, W], "label": int, "clip_id": str}`.

    `stream` is `rgb` (C = 3), `flow` (C = 2: u, v) or `both`: then `video` is RGB and `flow` the flow of the same
    frames, crop and flip. `label` is the position in `classes`, -1 for a clip without a label or with several: then
    the sample also has `targets`, float32 [classes, T].

    **Frames.** `frames` is how many, every `stride`-th; `frames=None` takes the whole clip, up to 250 frames. A clip
    that is too short is looped: the frames that the stride takes come again, the same in every round. `crop=None` takes
    whole frames. `step_between_clips` takes each clip's snippets that begin so many frames apart, one after the other,
    instead of one: a sample is one of them.

    **Training.** With `train` a sample is a random snippet, crop and flip; else it is the snippet and crop in the
    middle. They are drawn again each time that a sample is taken, from torch's random numbers, with any sampler. With a
    `ClipSampler`, or after `set_epoch`, they depend on (`seed`, epoch, clip_id) alone, whoever loads them.
    `flip=False` leaves the flip out, for classes that differ in left and right.

    **Values** are float32 in [-1, 1]. With `raw` they are the stored uint8 and not flipped; the sample says `flip`, and
    `transforms.to_device` finishes a batch on the device: the way to train fast, together with `collate`. `transform`
    is applied to the uint8 frames [T, C, H, W] before the flip and before the values become floats, and returns the
    same; with `stream="both"` it is given RGB and flow, and returns both.

    **Choice.** Only committed shards are read. `classes`, `clips` (ids, a file with one a line, or a certificate) and
    `examples_per_class` (the first so many of each) choose among their clips; a clip with several labels is chosen when
    it has one of `classes`. `renumber` numbers the labels by the classes chosen, in the dataset's order: `classes` of
    the dataset then names these alone. `labelled_only` leaves out clips without a label. Ids of `clips` that the
    dataset does not hold are named in a warning, and listed in `unknown_clips`.

    **Copies.** With a `ClipSampler` the shards of a remote dataset are copied to local disk (`cache`) ahead of use:
    those of its window and the next, at most `copy_ahead` bytes for all processes that use the folder; what has no room
    is read where it is. That pays when a machine takes a third of the clips or more; 0 copies nothing.

    Works from a path or a URI, under fork and spawn, and pickled. Raises UserError when nothing is left to read, for a
    stream the dataset does not have, a crop larger than its frames, a class it does not know; when a sample is read,
    DamagedShard that names shard, clip and chunk.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        split: str | None = None,
        stream: Stream = "rgb",
        frames: int | None = 64,
        crop: int | None = 224,
        train: bool = True,
        seed: int = 0,
        **options: Unpack[ClipOptions],
    ) -> None:
        dataset, options = Dataset.open(uri), with_defaults(options)
        require_arguments(stream, frames, crop, options, dataset)
        whole_number("seed", seed)
        self.uri, self.stream, self.frames, self.crop = dataset.store.uri, stream, frames, crop
        self.split = split
        self.train, self.seed, self.raw, self.flip = train, seed, options["raw"], options["flip"]
        self.stride, self.step_between_clips = options["stride"], options["step_between_clips"]
        self.transform = options["transform"]
        self.recipe = dataset.recipe
        whole, classes, examples = load_index(dataset), options["classes"], options["examples_per_class"]
        ids = None if options["clips"] is None else ids_of(options["clips"])
        self.unknown_clips = [] if ids is None else unknown(ids, whole, dataset)
        """Ids of `clips` that the dataset does not hold."""
        chosen = select(whole, dataset, split, classes, ids, examples)
        self.actions = actions_of(chosen, dataset)
        """The actions of the clips with several labels, by clip_id, as text that `charades.parse_actions` reads."""
        self.unlabelled = 0
        """How many clips `labelled_only` left out."""
        if options["labelled_only"] and not self.actions:  # a video in which no action happens is an example too
            chosen, self.unlabelled = require_labelled(chosen, dataset)
        require_size(chosen, self.crop)
        self._stored_labels: NDArray[np.int32] = chosen["class"].to_numpy()
        """The class numbers of the shards' rows."""
        self.classes, self.index = dataset.classes, chosen
        if options["renumber"] and classes is not None:
            self.classes, self.index = renumbered(chosen, dataset.classes, classes)
        self._renumbered = options["renumber"]
        self._ends = None if self.step_between_clips is None else np.cumsum(self._starts(self.step_between_clips))
        self._streams: tuple[StoredStream, ...] = ("rgb", "flow") if stream == "both" else (stream,)
        remote, copy_ahead = dataset.store.local_path("") is None, options["copy_ahead"]
        self.copies = CopyAhead.of(options["cache"], copy_ahead) if remote and copy_ahead > 0 else None
        """Where shards that the sampler announces are copied to; None for a local dataset."""
        self._clip_frames = ClipFrames(dataset, self.copies)
        # In shared memory, so that workers which outlive an epoch see the next one, and tell that they load.
        self._epoch = torch.full((), _NO_EPOCH).share_memory_()
        self._in_workers = torch.zeros((), dtype=torch.bool).share_memory_()

    classes: list[str]
    """Labels by class number."""
    index: pa.Table
    """The clips chosen, in the order of the samples: `index.load_index`'s columns and `class`, the class number."""

    def __len__(self) -> int:
        return len(self.index) if self._ends is None else int(self._ends[-1])

    def __repr__(self) -> str:
        return shown.text(self)

    def _repr_html_(self) -> str:
        return shown.html(self)

    def _starts(self, step: int) -> NDArray[np.int64]:
        """How many snippets of each clip begin `step` frames apart."""
        frames = self.index["frames"].to_numpy().tolist()
        return np.array([(places(count, self.frames, self.stride) - 1) // step + 1 for count in frames], np.int64)

    def clip_of(self, index: int) -> tuple[int, int]:
        """The row in `index` of a sample's clip, and the sample's number among the clip's snippets."""
        if self._ends is None:
            return index, 0
        row = int(np.searchsorted(self._ends, index, side="right"))
        return row, index - (int(self._ends[row - 1]) if row else 0)

    def shard_numbers(self) -> NDArray[np.int64]:
        """The number of the shard of every sample, in the order of the samples."""
        shards = np.asarray(self._shards().indices)
        return shards if self._ends is None else np.repeat(shards, np.diff(self._ends, prepend=0))

    def shard_names(self) -> list[str]:
        """The names of the data files, without folder and suffix; `shard_numbers` are positions in this list."""
        return list(self._shards().dictionary.to_pylist())

    def _shards(self) -> pa.DictionaryArray:
        return self.index["shard"].combine_chunks().dictionary_encode()

    @property
    def loaded_by_workers(self) -> bool:
        """Whether a worker process of a DataLoader has loaded samples of this dataset: then ahead of their use."""
        return bool(self._in_workers)

    @cached_property
    def _columns(self) -> tuple[list[pa.Array], NDArray[np.int64]]:
        """Columns of `index`, names apart from numbers: a table goes to a value by way of three objects."""
        names = [self.index[name].combine_chunks() for name in _NAMES]
        return names, np.stack([*(self.index[name].to_numpy() for name in _NUMBERS), self._stored_labels], axis=1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_columns"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # which a copy's is not
        self._in_workers.share_memory_()

    def place_of(self, row: int) -> Place:
        """Where the clip in a row of `index` lies, and how many frames it has of what size."""
        names, numbers = self._columns
        shard, clip_id = (column[row].as_py() for column in names)
        _, first_row, position, frames, height, width, label = numbers[row].tolist()
        return Place(shard, clip_id, label, first_row, position, frames, height, width)

    def frames_of(self, row: int, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
        """The stored values, uint8 [C, T, H, W], of some frames of the clip in a row of `index`, and its class number.

        Of the stream `rgb` or `flow`, whole frames.
        """
        place = self.place_of(row)
        snippet = Snippet(numbers, 0, 0, place.height, place.width, False)
        stream = self._streams[0]
        stored = {stream: self._clip_frames.block(stream, snippet, 1).values[0].numpy()}
        self._clip_frames.read(place, snippet, stored)
        return stored[stream], self._class_of(row)

    def _class_of(self, row: int) -> int:
        return int(self._columns[1][row, 0])

    def set_epoch(self, epoch: int) -> None:
        """From now on a sample depends on (seed, `epoch`, clip_id) alone. `ClipSampler` does this by itself."""
        self._epoch.fill_(whole_number("epoch", epoch))

    def snippet_of(self, index: int) -> tuple[int, Snippet]:
        """The row in `self.index` of a sample's clip, and the frames and the crop that the sample takes of it.

        A subclass that takes other frames overrides this method alone. Raises IndexError for a sample there is not.
        """
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        row, number = self.clip_of(position % len(self))
        place = self.place_of(row)
        size = (place.frames, place.height, place.width, self.frames, self.stride, self.crop)
        if self.train:
            key = place.clip_id if self.step_between_clips is None else f"{place.clip_id} {number}"
            snippet = random_snippet((self.seed, self._draw(index), key), *size)
            snippet = snippet if self.flip else replace(snippet, flip=False)
        else:
            snippet = central_snippet(*size)
        if self.step_between_clips is not None:
            start = number * self.step_between_clips
            snippet = replace(snippet, frames=frame_numbers(place.frames, self.frames, self.stride, start))
        return row, snippet

    def _draw(self, index: int) -> int:
        """The number that decides on a sample's frames, crop and flip: its epoch if known, else a random one."""
        if isinstance(index, EpochIndex):
            return index.epoch
        epoch = int(self._epoch)
        return int(torch.randint(_FIRST_DRAW, 2**62, ())) if epoch == _NO_EPOCH else epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, snippet = self.snippet_of(index)
        stored = {stream: self._clip_frames.block(stream, snippet, 1).values[0] for stream in self._streams}
        self._read(index, row, snippet, stored)
        sample = self._described(row, snippet)
        values = {name: stored[stream] for name, stream in self._names()}
        if self.transform is not None:
            values = transformed(values, self.transform)
        return sample | (values if self.raw else finished(values, snippet.flip))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The samples of a batch (torch's fetcher calls this): raw ones of one size are decoded into one block."""
        if not self.raw or self.transform is not None or type(self).__getitem__ is not ClipDataset.__getitem__:
            return named_when_stacked([self[index] for index in indices])
        chosen = [self.snippet_of(index) for index in indices]
        if len({(len(s.frames), s.height, s.width) for _, s in chosen}) != 1:
            return named_when_stacked([self[index] for index in indices])
        read = self._clip_frames
        blocks = {stream: read.block(stream, chosen[0][1], len(chosen), to_send=True) for stream in self._streams}
        samples = []
        for number, (row, snippet) in enumerate(chosen):
            self._read(indices[number], row, snippet, {s: block.values[number] for s, block in blocks.items()})
            samples.append(self._described(row, snippet))
        named = {name: blocks[stream] for name, stream in self._names()}
        for number, sample in enumerate(samples):
            sample |= {name: block.values[number] for name, block in named.items()}
        return Batch(samples, named)

    def _read(self, index: int, row: int, snippet: Snippet, stored: dict[StoredStream, torch.Tensor]) -> None:
        if not self._in_workers and get_worker_info() is not None:
            self._in_workers.fill_(True)
        if isinstance(index, EpochIndex) and index.shards:
            self._clip_frames.need(index.shards)
        self._clip_frames.read(self.place_of(row), snippet, {s: values.numpy() for s, values in stored.items()})

    def _names(self) -> list[tuple[str, StoredStream]]:
        """The name that a sample uses for each stream that is read."""
        return [("flow" if stream == "flow" and self.stream == "both" else "video", stream) for stream in self._streams]

    def _described(self, row: int, snippet: Snippet) -> dict[str, Any]:
        place = self.place_of(row)
        sample = {"label": self._class_of(row), "clip_id": place.clip_id}
        if self.actions:
            acts = parse_actions(self.actions.get(place.clip_id, ""))
            if self._renumbered:
                acts = tuple(act for act in acts if act.label in self.classes)
            there = targets(acts, self.classes, place.frames, self.recipe.fps)
            sample["targets"] = torch.from_numpy(there[:, snippet.frames])
        return sample | {"flip": snippet.flip} if self.raw else sample
