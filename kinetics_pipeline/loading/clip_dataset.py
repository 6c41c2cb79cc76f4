"""`ClipDataset`: the clips of a dataset as torch samples, of which only the chunks and streams needed are read."""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from kinetics_pipeline.annotations.charades import parse_actions, targets
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.arguments import whole_number
from kinetics_pipeline.loading.batches import Batch
from kinetics_pipeline.loading.copies import CopyAhead
from kinetics_pipeline.loading.decoding import Decoder, StoredStream
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.memory import Block, Blocks
from kinetics_pipeline.loading.selection import actions_of, select
from kinetics_pipeline.loading.shard_reader import Place, ShardReader
from kinetics_pipeline.loading.snippets import Snippet, central_snippet, frame_numbers, places, random_snippet
from kinetics_pipeline.loading.transforms import mirror, normalise

Stream = Literal["rgb", "flow", "both"]


_OF_PLACE = tuple(field.name for field in fields(Place))
_NAMES_OF_CLIP = ("shard", "clip_id")
_NUMBERS_OF_CLIP = tuple("class" if name == "label" else name for name in _OF_PLACE if name not in _NAMES_OF_CLIP)


class EpochIndex(int):
    """The number of a sample, with the epoch it is drawn for: what a sampler hands to workers that outlive epochs.

    `shards` names those that the sampler takes now and next, of a remote dataset.
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
    frames, crop and flip. `label` is the position in `classes`, -1 for a clip without a label.

    With `train` a sample is a random snippet, crop and flip, drawn from (`seed`, epoch, clip_id) alone: see
    `set_epoch`; `flip=False` leaves the flip out, for classes that differ in left and right. Else it is the snippet and
    crop in the middle. `frames` is how many, every `stride`-th, of a clip that is looped where it is too short;
    `frames=None` takes the whole clip, up to 250 frames. `crop=None` takes whole frames. `step_between_clips` takes
    each clip's snippets that begin so many frames apart, one after the other, instead of one: a sample is one of them.

    Values are float32 in [-1, 1]. With `raw` they are the stored uint8 and not flipped; the sample says `flip`, and
    `transforms.to_device` finishes a batch on the device: the way to train fast, together with `collate`.

    Only committed shards are read. `classes`, `clips` (ids, a file with one a line, or a certificate) and
    `examples_per_class` (the first so many of each) choose among their clips. Works from a path or a URI, under fork
    and spawn, and pickled.

    With a `ClipSampler` the shards of a remote dataset are copied to local disk (`cache`) ahead of use: those of its
    window and the next, at most `copy_ahead` bytes for all processes that use the folder; what has no room is read
    where it is. That pays when a machine takes a third of the clips or more; 0 copies nothing.

    Raises UserError when nothing is left to read, for a stream the dataset does not have, a crop larger than its
    frames, a class it does not know; when a sample is read, DamagedShard that names shard, clip and chunk.
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
        *,
        stride: int = 1,
        step_between_clips: int | None = None,
        classes: Collection[str] | None = None,
        clips: Collection[str] | str | Path | None = None,
        examples_per_class: int | None = None,
        raw: bool = False,
        flip: bool = True,
        copy_ahead: int = 64 << 30,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        dataset = Dataset.open(uri)
        _require_arguments(stream, frames, crop, stride, step_between_clips, dataset)
        whole_number("seed", seed)
        self.uri, self.stream, self.frames, self.crop, self.stride = dataset.store.uri, stream, frames, crop, stride
        self.train, self.seed, self.raw, self.flip = train, seed, raw, flip
        self.classes: list[str] = dataset.classes
        """Labels by class number."""
        self.recipe = dataset.recipe
        self.index: pa.Table = select(load_index(dataset), dataset, split, classes, clips, examples_per_class)
        """The clips chosen, in the order of the samples: `index.load_index`'s columns and `class`, the class number."""
        _require_size(self.index, crop)
        self.actions = actions_of(self.index, dataset)
        """By clip_id, of clips with several labels: `charades.parse_actions` reads them. Their samples have
        `targets`, float32 [classes, T], and the label -1."""
        self.step_between_clips = step_between_clips
        self._ends = None if step_between_clips is None else np.cumsum(self._starts(step_between_clips))
        self._streams: tuple[StoredStream, ...] = ("rgb", "flow") if stream == "both" else (stream,)
        remote = dataset.store.local_path("") is None
        self.copies = CopyAhead.of(cache, copy_ahead) if remote and copy_ahead > 0 else None
        """Where shards that the sampler announces are copied to; None for a local dataset."""
        self._reader = ShardReader(dataset.store, dataset.recipe, self.copies)
        self._blocks = Blocks()
        # In shared memory, so that workers which outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.index) if self._ends is None else int(self._ends[-1])

    def _starts(self, step: int) -> NDArray[np.int64]:
        """How many snippets of each clip begin `step` frames apart."""
        frames = self.index["frames"].to_numpy().tolist()
        return np.array([(places(count, self.frames, self.stride) - 1) // step + 1 for count in frames], np.int64)

    def clip_of(self, index: int) -> tuple[int, int]:
        """Of a sample the row of its clip in `index`, and its number among the clip's snippets."""
        if self._ends is None:
            return index, 0
        row = int(np.searchsorted(self._ends, index, side="right"))
        return row, index - (int(self._ends[row - 1]) if row else 0)

    def shard_numbers(self) -> NDArray[np.int64]:
        """Of every sample the number of its shard, in the order of the samples."""
        shards = np.asarray(self._shards().indices)
        return shards if self._ends is None else np.repeat(shards, np.diff(self._ends, prepend=0))

    def shard_names(self) -> list[str]:
        """By the numbers of `shard_numbers`: what their data files are called, without folder and suffix."""
        return list(self._shards().dictionary.to_pylist())

    def _shards(self) -> pa.DictionaryArray:
        return self.index["shard"].combine_chunks().dictionary_encode()

    @cached_property
    def _columns(self) -> tuple[list[pa.Array], NDArray[np.int64]]:
        """Of `index` those of `_clip`, names apart from numbers: a table goes to a value by way of three objects."""
        names, numbers = ([self.index[name] for name in some] for some in (_NAMES_OF_CLIP, _NUMBERS_OF_CLIP))
        return [column.combine_chunks() for column in names], np.stack([n.to_numpy() for n in numbers], axis=1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_columns"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # which a copy's is not

    def _clip(self, row: int) -> dict[str, Any]:
        names, numbers = self._columns
        values = [*(column[row].as_py() for column in names), *numbers[row].tolist()]
        return dict(zip(_NAMES_OF_CLIP + _NUMBERS_OF_CLIP, values, strict=True))

    def frames_of(self, row: int, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
        """The stored values, uint8 [C, T, H, W], of some frames of the clip in a row of `index`, and its class number.

        Of the stream `rgb` or `flow`, whole frames.
        """
        clip = self._clip(row)
        snippet = Snippet(numbers, 0, 0, clip["height"], clip["width"], False)
        stream = self._streams[0]
        stored = {stream: self._block(stream, snippet, 1).values[0].numpy()}
        self._read(clip, snippet, stored)
        return stored[stream], clip["class"]

    def set_epoch(self, epoch: int) -> None:
        """Draws other snippets, crops and flips from now on. `ClipSampler` does it by itself."""
        self._epoch.fill_(whole_number("epoch", epoch))

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, snippet = self._sample(index)
        stored = {stream: self._block(stream, snippet, 1).values[0].numpy() for stream in self._streams}
        self._announce(index)
        self._read(clip, snippet, stored)
        sample = self._described(clip, snippet)
        for name, stream in self._names():
            values = torch.from_numpy(stored[stream])
            if not self.raw:
                values = normalise(mirror(values) if snippet.flip else values)
            sample[name] = values
        return sample

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The samples of a batch (torch's fetcher calls this): raw ones of one size are decoded into one block."""
        chosen = [self._sample(index) for index in indices]
        sizes = {(len(s.frames), s.height, s.width) for _, s in chosen}
        if not self.raw or len(sizes) != 1:
            return [self[index] for index in indices]
        blocks = {stream: self._block(stream, chosen[0][1], len(chosen), to_send=True) for stream in self._streams}
        samples = []
        for number, (clip, snippet) in enumerate(chosen):
            self._announce(indices[number])
            self._read(clip, snippet, {stream: block.values[number].numpy() for stream, block in blocks.items()})
            samples.append(self._described(clip, snippet))
        named = {name: blocks[stream] for name, stream in self._names()}
        for number, sample in enumerate(samples):
            sample |= {name: block.values[number] for name, block in named.items()}
        return Batch(samples, named)

    def _announce(self, index: int) -> None:
        if isinstance(index, EpochIndex) and index.shards:
            self._reader.need(index.shards)

    def _names(self) -> list[tuple[str, StoredStream]]:
        """What a sample calls each stream that is read."""
        return [("flow" if stream == "flow" and self.stream == "both" else "video", stream) for stream in self._streams]

    def _sample(self, index: int) -> tuple[dict[str, Any], Snippet]:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        row, number = self.clip_of(position % len(self))
        clip = self._clip(row)
        size = (clip["frames"], clip["height"], clip["width"], self.frames, self.stride, self.crop)
        if self.train:
            epoch = index.epoch if isinstance(index, EpochIndex) else int(self._epoch)
            key = clip["clip_id"] if self.step_between_clips is None else f"{clip['clip_id']} {number}"
            snippet = random_snippet((self.seed, epoch, key), *size)
            snippet = snippet if self.flip else replace(snippet, flip=False)
        else:
            snippet = central_snippet(*size)
        if self.step_between_clips is not None:
            start = number * self.step_between_clips
            snippet = replace(snippet, frames=frame_numbers(clip["frames"], self.frames, self.stride, start))
        return clip, snippet

    def _described(self, clip: dict[str, Any], snippet: Snippet) -> dict[str, Any]:
        sample = {"label": clip["class"], "clip_id": clip["clip_id"]}
        if self.actions:
            acts = parse_actions(self.actions.get(clip["clip_id"], ""))
            there = targets(acts, self.classes, clip["frames"], self.recipe.fps)
            sample["targets"] = torch.from_numpy(there[:, snippet.frames])
        return sample | {"flip": snippet.flip} if self.raw else sample

    def _block(self, stream: StoredStream, snippet: Snippet, samples: int, *, to_send: bool = False) -> Block:
        """Memory for a stream of some samples, uint8 [N, C, T, H, W]; RGB with the channels innermost, as it is stored.

        Moving the channels costs more than all else in the array layout: `to_device` does it, where there is a GPU on
        it.
        """
        time, high, wide = len(snippet.frames), snippet.height, snippet.width
        if stream == "rgb":
            block = self._blocks.empty([samples, time, high, wide, 3], to_send=to_send)
            return replace(block, values=block.values.permute(0, 4, 1, 2, 3))
        return self._blocks.empty([samples, 2, time, high, wide], to_send=to_send)

    def _read(self, clip: dict[str, Any], snippet: Snippet, out: dict[StoredStream, NDArray[np.uint8]]) -> None:
        """Fills `out`, uint8 [C, T, H, W] of each stream, with the snippet's crop."""
        length = self.recipe.chunk_length
        frames = snippet.frames.tolist()
        first = {frame: time for time, frame in reversed([*enumerate(frames)])}
        parts: dict[int, tuple[list[int], list[int]]] = {}
        """By chunk the times in the sample, and the numbers in the chunk, of the frames it holds."""
        for frame in sorted(first):
            times, numbers = parts.setdefault(frame // length, ([], []))
            times.append(first[frame])
            numbers.append(frame % length)
        place = _place(clip)
        images = self._reader.images(place, list(parts), self._streams)
        for stream, values in out.items():
            size = [clip["height"], clip["width"]]
            whole = self._blocks.empty([*size, 3] if stream == "rgb" else [2, *size]).values.numpy()
            decoder = Decoder(stream, whole, snippet)
            for (chunk, (times, numbers)), stored in zip(parts.items(), images[stream], strict=True):
                try:
                    decoder.fill(values, times, stored, numbers)
                except (IndexError, ValueError) as e:
                    raise self._reader.damaged(place, chunk, f"{stream}: {e}") from e
            if len(first) < len(frames):  # looped
                values[:] = values[:, [first[frame] for frame in frames]]


def _place(clip: Mapping[str, Any]) -> Place:
    return Place(**{name: clip["class" if name == "label" else name] for name in _OF_PLACE})


def _require_arguments(
    stream: str, frames: int | None, crop: int | None, stride: int, step: int | None, dataset: Dataset
) -> None:
    if stream not in get_args(Stream):
        raise UserError(f"stream is {stream!r}; allowed: rgb, flow, both")
    if stream != "rgb" and dataset.recipe.flow == "none":
        raise UserError(f"stream is {stream!r}, but {dataset.store.uri} was built without flow; allowed: rgb")
    for name, value in (("frames", frames), ("crop", crop), ("step_between_clips", step)):
        if value is not None:
            whole_number(name, value, 1)
    whole_number("stride", stride, 1)


def _require_size(index: pa.Table, crop: int | None) -> None:
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
