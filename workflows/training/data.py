"""The batches of a run: an endless stream over epochs that can be taken up again at any step, and the timed loader."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset, ClipSampler, collate, to_device
from kinetics_pipeline.loading.held_out import held_out
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.selection import select
from kinetics_pipeline.workflows.training.settings import Settings

LOADING = "loading_seconds"


@dataclass(frozen=True)
class Position:
    """How far all ranks together are: `consumed` clips of epoch `epoch` are used."""

    epoch: int = 0
    consumed: int = 0

    def after(self, batch_size: int, clips: int, world_size: int) -> Position:
        """The position one batch of every rank later, in a dataset of `clips`; a batch may begin in one epoch and
        end in the next."""
        epoch, consumed, wanted = self.epoch, self.consumed, batch_size
        while wanted:
            left = -(-(clips - consumed) // world_size)
            taken = min(wanted, left)
            wanted -= taken
            consumed = min(consumed + taken * world_size, clips)
            if consumed == clips:
                epoch, consumed = epoch + 1, 0
        return Position(epoch, consumed)


class EndlessBatches(Sampler[list[int]]):
    """Batches of sample numbers of one rank from a position on, through all epochs to come. None is left out: every
    clip comes once an epoch (a few twice, where the ranks do not divide their number)."""

    def __init__(self, sampler: ClipSampler, batch_size: int, start: Position, clips: int) -> None:
        self._sampler, self._batch_size, self._start, self._clips = sampler, batch_size, start, clips

    def __iter__(self) -> Iterator[list[int]]:
        position = {"epoch": self._start.epoch, "consumed": self._start.consumed, "seed": self._sampler.seed}
        self._sampler.load_state_dict({**position, "clips": self._clips})
        batch: list[int] = []
        while True:
            for index in self._sampler:
                batch.append(index)
                if len(batch) == self._batch_size:
                    yield batch
                    batch = []
            self._sampler.set_epoch(self._sampler.epoch + 1)


class Timed(TorchDataset[dict[str, Any]]):
    """A dataset whose samples say how long it took to load them."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        begun = time.perf_counter()
        samples = self.dataset.__getitems__(indices)
        each = (time.perf_counter() - begun) / len(samples)
        for sample in samples:
            sample[LOADING] = each
        return samples


def loader(
    dataset: ClipDataset, batches: Iterable[list[int]], processes: int, device: torch.device
) -> DataLoader[dict[str, Any]]:
    """A loader of raw batches with `processes` of its own (0: none). A remote store's client survives no fork."""
    local = dataset.uri.startswith("/") or "://" not in dataset.uri or dataset.uri.startswith("file:")
    context = multiprocessing.get_context("fork" if local else "spawn") if processes else None
    return DataLoader(
        Timed(dataset),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=processes,
        pin_memory=device.type == "cuda",
        multiprocessing_context=context,
        prefetch_factor=2 if processes else None,
        generator=torch.Generator(),  # or it draws from the numbers that dropout is made of
    )


def on_device(raw: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A raw batch of `loader` as networks take it: float32 in [-1, 1] on `device`, flipped where that was drawn."""
    return to_device({name: value for name, value in raw.items() if name != LOADING}, device)


def training_clips(settings: Settings) -> ClipDataset:
    """The clips that a run trains on, as raw samples. Raises UserError when there are none."""
    config = settings.config
    return ClipDataset(
        settings.uri,
        config.train_split,
        settings.stream,
        config.frames,
        config.crop,
        seed=config.seed,
        stride=config.stride,
        classes=settings.classes,
        clips=parts(settings)[0] if config.hold_out else None,
        examples_per_class=config.examples_per_class,
        labelled_only=True,
        raw=True,
        flip=config.flip,
    )


def parts(settings: Settings) -> tuple[list[str], list[str]]:
    """The ids of the clips of the training split to train on, and of those held out. Raises UserError when there are
    none."""
    dataset, config = Dataset.open(settings.uri), settings.config
    index = select(load_index(dataset), dataset, config.train_split, settings.classes, None, None)
    return held_out(index, config.hold_out, config.seed)


def plain_errors(batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The batches; what a loading process raised for the user is again one line, not torch's report of it."""
    try:
        yield from batches
    except UserError as error:
        last = str(error).strip().splitlines()[-1]
        raise type(error)(last.partition(f"{type(error).__name__}: ")[2] or last) from None
