"""Class-sorted archives and the default sampler, on indexes alone: batches hold nearly as many classes as those of a
full shuffle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from kinetics_pipeline.loading import ClipDataset, ClipSampler
from kinetics_pipeline.plan import PlanSettings, make_plan
from kinetics_pipeline.sources.archives.copies import Address
from kinetics_pipeline.sources.archives.fetch import Seen
from kinetics_pipeline.sources.archives.listed import ArchiveList, listed, remote_archives
from kinetics_pipeline.workflows.flags.build_flags import ARCHIVES_PER_PLAN

CLASSES, CLIPS, BATCH = 600, 150, 64


class OnlyShards(ClipDataset):
    """A dataset of which only the shard of each sample is known."""

    def __init__(self, shards: NDArray[np.int64]) -> None:
        self._numbers = shards

    def __len__(self) -> int:
        return len(self._numbers)

    def shard_numbers(self) -> NDArray[np.int64]:
        return self._numbers

    copies = None


def planned() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The shard and the class of each sample, as a build makes them from an archive a class."""
    archives = remote_archives("c", [Address(f"https://host/600/train/class_{k}.tar.gz") for k in range(CLASSES)], None)
    groups = listed(ArchiveList(), archives, {one.key: [Seen(1, "")] for one in archives}, ARCHIVES_PER_PLAN).groups()
    shards: list[str] = []
    labels: list[int] = []
    following = 0
    for group in groups:
        classes = [int(one.title.removeprefix("class_").removesuffix(".tar.gz")) for one in group]
        rows = [(f"v{k}_{n}", f"v{k}_{n}", 0.0, 10.0, str(k), "train") for k in classes for n in range(CLIPS)]
        table = pd.DataFrame(rows, columns=["clip_id", "video_id", "time_start", "time_end", "label", "split"])
        plan = make_plan(
            table,
            outcomes={},
            settings=PlanSettings(),
            held_locally=lambda clips: [one.clip_id for one in clips],
            next_shard={"train": following},
            archive_group=group[0].group,
        )
        following += len(plan.shard_names())
        shards += plan.table["shard"].to_pylist()
        labels += map(int, plan.table["label"].to_pylist())
    return np.unique(shards, return_inverse=True)[1].astype(np.int64), np.array(labels)


def classes_of_a_batch(labels: NDArray[np.int64]) -> float:
    """Classes of a batch, in the mean over all whole batches."""
    batches = labels[: len(labels) // BATCH * BATCH].reshape(-1, BATCH)
    return float(np.mean([len(set(batch)) for batch in batches.tolist()]))


@pytest.fixture(scope="module")
def samples() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return planned()


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_batch_holds_four_fifths_of_the_classes_of_a_full_shuffle(
    samples: tuple[NDArray[np.int64], NDArray[np.int64]], epoch: int
) -> None:
    shards, labels = samples
    sampler = ClipSampler(OnlyShards(shards))
    sampler.set_epoch(epoch)
    shuffled = np.random.default_rng(epoch).permutation(labels)
    assert classes_of_a_batch(labels[sampler.order()]) >= 0.8 * classes_of_a_batch(shuffled)


def test_in_the_order_of_the_archives_it_would_not(samples: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    _, labels = samples
    assert classes_of_a_batch(labels) < 0.2 * classes_of_a_batch(np.random.default_rng(0).permutation(labels))
