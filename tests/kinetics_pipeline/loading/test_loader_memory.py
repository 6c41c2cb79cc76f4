"""Blocks of memory that batches share and that are used again: never while anybody still holds one of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from kinetics_pipeline.loading import ClipDataset, collate
from kinetics_pipeline.loading.memory import Blocks
from tests.builders.clips import built


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    folder: Path = tmp_path_factory.mktemp("memory") / "data"
    built(folder, 12)
    clips = ClipDataset(folder, stream="both", frames=8, crop=32, raw=True)
    clips.set_epoch(0)
    return clips


def address(values: torch.Tensor) -> int:
    return values.untyped_storage().data_ptr()


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    blocks = Blocks()
    first = blocks.empty([4, 1000]).values
    before = address(first)
    view = first[1:2, :10].numpy()
    del first
    assert address(blocks.empty([4, 1000]).values) != before
    del view
    seen = {address(blocks.empty([3, 1000]).values) for _ in range(10)}
    assert before in seen
    assert len(seen) <= 2


def test_little_free_memory_is_kept() -> None:
    blocks = Blocks()
    held = [blocks.empty([1000]) for _ in range(50)]
    assert len({address(block.values) for block in held}) == 50
    held.clear()
    blocks.empty([1000])
    assert len(blocks._slots) <= 5


def test_threads_get_memory_of_their_own() -> None:
    blocks = Blocks()

    def mine(number: int) -> bool:
        values = blocks.empty([1000]).values.fill_(number % 256)
        return bool((values == number % 256).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(mine, range(5000)))


def test_samples_that_are_held_keep_their_values(clips: ClipDataset) -> None:
    held = [clips[number] for number in range(12)]
    copies = [{k: v.clone() for k, v in sample.items() if isinstance(v, torch.Tensor)} for sample in held]
    for number in range(12):
        clips[number]
    assert all(torch.equal(sample[k], copy[k]) for sample, copy in zip(held, copies, strict=True) for k in copy)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_batches_of_workers_that_are_held_keep_their_values(clips: ClipDataset, context: str) -> None:
    def batches(workers: int, **more: Any) -> list[dict[str, Any]]:
        return list(DataLoader(clips, 2, num_workers=workers, collate_fn=collate, **more))

    alone, made = batches(0), batches(1, multiprocessing_context=context)
    for one, other in zip(alone, made, strict=True):
        assert one.keys() == other.keys()
        assert type(other) is dict
        for name in ("video", "flow", "label", "flip"):
            assert torch.equal(one[name], other[name])
        assert one["video"].stride() == other["video"].stride()
    made[0]["video"].zero_()  # a batch is its owner's to change
    assert torch.equal(alone[1]["video"], made[1]["video"])


def test_a_worker_takes_the_memory_of_batches_that_are_gone(clips: ClipDataset) -> None:
    clips.train = False
    files = set()
    for _ in range(2):
        loader = DataLoader(clips, 1, num_workers=1, collate_fn=_with_its_file, multiprocessing_context="fork")
        for batch in loader:
            files |= {batch["file"]}
            del batch
    assert len(files) < 12, "each of 24 batches lay in a file of its own"


def _with_its_file(samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch = collate(samples)
    batch["file"] = os.fstat(samples.blocks["video"].slot._file).st_ino  # type: ignore[attr-defined]
    return batch


def test_a_batch_changed_in_the_worker_arrives_changed(clips: ClipDataset) -> None:
    batch = next(iter(DataLoader(clips, 3, num_workers=1, collate_fn=_negated, multiprocessing_context="fork")))
    assert torch.equal(255 - batch["video"], collate(clips.__getitems__([0, 1, 2]))["video"])
    assert torch.equal(batch["flow"], collate(clips.__getitems__([0, 1, 2]))["flow"])


def _negated(samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch = collate(samples)
    batch["video"] = 255 - batch["video"]
    return batch
