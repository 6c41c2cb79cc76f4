"""What a sample holds: the right frames and pixels, drawn from (seed, epoch, clip) whoever loads it."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset, ClipSampler, Views, collate, to_device
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard
from tests.builders.clips import CLASSES, asked_clips, built, record_of

HEIGHT, WIDTH = 48, 64
LENGTHS = (40, 40, 10, 300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips whose pixels say where they are: red is the column, green the row, blue the frame (modulo 256).

    Their flow says it again: u = (column - 32) / 2, v = (row - 24) / 2 pixels.
    """
    folder = tmp_path_factory.mktemp("measured") / "data"
    recipe = Recipe(short_side=HEIGHT, layout="array")
    dataset = Dataset.create(folder, recipe, CLASSES, {})
    items = []
    for clip, count in zip(asked_clips(len(LENGTHS)), LENGTHS, strict=True):
        t, y, x = np.meshgrid(*map(np.arange, (count, HEIGHT, WIDTH)), indexing="ij")
        flow = np.stack([(x - 32) / 2, (y - 24) / 2], axis=1).astype(np.float32)
        frames = (np.stack([x, y, t], axis=-1) % 256).astype(np.uint8)
        rows = encode_clip(clip.clip_id, CLASSES.index(clip.label or ""), frames, flow, recipe)
        items.append((record_of(clip, frames=count), rows))
    write_shard(
        dataset.store,
        name="train-00000",
        plan="00000",
        clips=items,
        recipe=recipe,
        classes=CLASSES,
        scratch=folder.with_suffix(".scratch"),
        still_current=lambda: True,
    )
    return folder


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded") / "data"
    built(folder, 9)
    return folder


def frames_in(sample: dict) -> list[int]:
    return sample["video"][2, :, 0, 0].tolist()


def corner(sample: dict) -> tuple[int, int]:
    """Row and column of the crop's first pixel."""
    return int(sample["video"][1, 0, 0, 0]), int(sample["video"][0, 0, 0, 0])


def test_a_sample_has_the_contracts_shape_and_range(encoded: Path) -> None:
    for stream, channels in (("rgb", 3), ("flow", 2)):
        sample = ClipDataset(encoded, "train", stream, frames=8, crop=32)[0]  # type: ignore[arg-type]
        assert sample["video"].shape == (channels, 8, 32, 32)
        assert sample["video"].dtype == torch.float32
        assert -1 <= sample["video"].min() < -0.1 < 0.1 < sample["video"].max() <= 1


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_values_agree_with_pandas_and_opencv(encoded: Path, stream: str) -> None:
    dataset = ClipDataset(encoded, stream=stream, frames=None, crop=32, train=False)  # type: ignore[arg-type]
    sample = dataset[4]
    table = pd.concat(pd.read_parquet(path) for path in sorted(encoded.glob("shards/*.parquet")))
    rows = table[table["clip_id"] == sample["clip_id"]].sort_values("chunk")
    flag = cv2.IMREAD_COLOR_RGB if stream == "rgb" else cv2.IMREAD_GRAYSCALE
    images = [cv2.imdecode(np.frombuffer(i, np.uint8), flag) for row in rows[stream] for i in row]
    theirs = np.stack(images).astype(np.float64)
    if stream == "rgb":
        expected = theirs.transpose(3, 0, 1, 2) / 127.5 - 1
    else:
        expected = (theirs.reshape(40, 2, HEIGHT, WIDTH).transpose(1, 0, 2, 3) - 128) / 127
    assert np.abs(sample["video"].numpy() - expected[:, :, 8:40, 16:48]).max() <= 1.01 / 127
    assert sample["label"] == rows["label"].iloc[0]


def test_evaluation_takes_the_middle_of_the_clip_and_of_its_frames(measured: Path) -> None:
    sample = ClipDataset(measured, frames=10, crop=32, train=False, raw=True)[0]
    assert frames_in(sample) == list(range(15, 25))
    assert corner(sample) == ((HEIGHT - 32) // 2, (WIDTH - 32) // 2)
    assert not sample["flip"]


def test_a_snippet_takes_every_strideth_frame(measured: Path) -> None:
    sample = ClipDataset(measured, frames=5, crop=32, train=False, raw=True, stride=4)[0]
    assert np.diff(frames_in(sample)).tolist() == [4] * 4


def test_a_short_clip_is_looped_from_its_first_frame(measured: Path) -> None:
    for train in (False, True):
        sample = ClipDataset(measured, frames=24, crop=32, train=train, raw=True, stream="both")[2]
        assert frames_in(sample) == [*range(10), *range(10), 0, 1, 2, 3]


@pytest.mark.parametrize(("stride", "round_of"), [(3, [0, 3, 6, 9]), (4, [0, 4, 8]), (16, [0])])
def test_every_round_of_a_short_clip_shows_the_frames_of_the_first_as_views_do(
    measured: Path, stride: int, round_of: list[int]
) -> None:
    expected = (round_of * 16)[:16]
    name = ClipDataset(measured, frames=4, crop=32, raw=True)[2]["clip_id"]
    for train in (False, True):
        options = {"train": train, "raw": True, "stride": stride}
        assert frames_in(ClipDataset(measured, frames=16, crop=32, **options)[2]) == expected  # type: ignore[arg-type]
    views = Views(measured, None, "rgb", 32, views="sliding", window=16, stride=stride, clips=[name])
    assert frames_in(views[0]) == expected


def test_a_looped_snippet_repeats_every_plane(measured: Path) -> None:
    sample = ClipDataset(measured, frames=20, crop=32, stream="both")[2]
    for name in ("video", "flow"):
        assert torch.equal(sample[name][:, :10], sample[name][:, 10:])


def test_the_whole_clip_is_at_most_the_250_frames_in_the_middle(measured: Path) -> None:
    dataset = ClipDataset(measured, frames=None, crop=32, train=False, raw=True)
    assert frames_in(dataset[0]) == list(range(40))
    assert frames_in(dataset[3]) == [frame % 256 for frame in range(25, 275)]


def test_without_a_crop_frames_are_whole(measured: Path) -> None:
    assert ClipDataset(measured, frames=4, crop=None)[0]["video"].shape == (3, 4, HEIGHT, WIDTH)


def test_rgb_and_flow_of_a_sample_are_the_same_crop(measured: Path) -> None:
    dataset = ClipDataset(measured, stream="both", frames=4, crop=24, raw=True)
    for epoch in range(5):
        dataset.set_epoch(epoch)
        sample = dataset[1]
        u, v = ((sample["flow"][d, 0].float() - 128) * 20 / 127 for d in (0, 1))
        columns, rows = sample["video"][0, 0].float(), sample["video"][1, 0].float()
        assert (u - (columns - 32) / 2).abs().max() < 0.1
        assert (v - (rows - 24) / 2).abs().max() < 0.1


def test_training_draws_every_place_and_flips_half(measured: Path) -> None:
    dataset = ClipDataset(measured, frames=30, crop=46, raw=True)
    seen = []
    for epoch in range(400):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        seen.append((frames_in(sample)[0], *corner(sample), sample["flip"]))
    starts, tops, lefts, flips = zip(*seen, strict=True)
    assert set(starts) == set(range(11))
    assert set(tops) == set(range(3))
    assert set(lefts) == set(range(19))
    assert 150 < sum(flips) < 250


def test_a_flipped_sample_is_the_mirror_of_the_stored_one_with_u_negated(measured: Path) -> None:
    raw = ClipDataset(measured, stream="both", frames=4, crop=24, raw=True)
    ready = ClipDataset(measured, stream="both", frames=4, crop=24)
    flipped = 0
    for epoch in range(8):
        raw.set_epoch(epoch)
        ready.set_epoch(epoch)
        stored, sample = raw[0], ready[0]
        rgb = stored["video"] / 127.5 - 1
        flow = (stored["flow"].float() - 128) / 127
        if stored["flip"]:
            rgb, flow = rgb.flip(-1), flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
            flipped += 1
        assert torch.allclose(sample["video"], rgb, atol=1e-6)
        assert torch.allclose(sample["flow"], flow, atol=1e-6)
    assert 0 < flipped < 8


def test_a_sample_does_not_depend_on_what_was_read_before(encoded: Path) -> None:
    one, other = (ClipDataset(encoded, frames=8, crop=32, seed=3) for _ in range(2))
    one.set_epoch(0)
    other.set_epoch(0)
    forwards = [one[i]["video"] for i in range(9)]
    backwards = [other[i]["video"] for i in reversed(range(9))]
    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_epochs_and_seeds_draw_other_snippets(encoded: Path) -> None:
    dataset, other = ClipDataset(encoded, frames=8, crop=32), ClipDataset(encoded, frames=8, crop=32, seed=1)
    dataset.set_epoch(0)
    other.set_epoch(0)
    first = dataset[0]["video"]
    assert torch.equal(first, dataset[0]["video"])
    assert not torch.equal(first, other[0]["video"])
    dataset.set_epoch(1)
    assert not torch.equal(first, dataset[0]["video"])


@pytest.mark.parametrize("layout", ["parquet", "array", "video"])
def test_a_batch_decoded_into_one_block_is_its_samples(tmp_path: Path, layout: Layout) -> None:
    built(tmp_path / "data", 5, recipe=Recipe(short_side=48, layout=layout))
    dataset = ClipDataset(tmp_path / "data", stream="both", frames=20, crop=32, raw=True)
    dataset.set_epoch(0)
    batch = collate(dataset.__getitems__([3, 0, 4]))
    plain = torch.utils.data.default_collate([dataset[i] for i in (3, 0, 4)])
    assert batch.keys() == plain.keys()
    assert all(
        torch.equal(batch[k], plain[k]) if isinstance(batch[k], torch.Tensor) else batch[k] == plain[k] for k in batch
    )


def loaded(folder: Path, workers: int, context: str | None, epochs: int = 2) -> list[tuple[str, int]]:
    """Every clip with a checksum of what was made of it, over some epochs."""
    dataset = ClipDataset(folder, frames=8, crop=32, raw=True, seed=2)
    sampler = ClipSampler(dataset, seed=2)
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
    )
    found = []
    dataset[0]  # so that a forked worker inherits an open shard
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in loader:
            made = to_device(batch, "cpu")["video"]
            found += [(name, hash(made[i].numpy().tobytes())) for i, name in enumerate(batch["clip_id"])]
    return found


@pytest.mark.parametrize(("workers", "context"), [(1, "fork"), (3, "fork"), (2, "spawn")])
def test_workers_make_the_same_samples_as_none(encoded: Path, workers: int, context: str) -> None:
    assert loaded(encoded, workers, context) == loaded(encoded, 0, None)


def test_set_epoch_reaches_workers_that_are_at_work_already(encoded: Path) -> None:
    dataset = ClipDataset(encoded, frames=8, crop=32)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    first = next(iter(loader))["video"]
    dataset.set_epoch(1)
    second = next(iter(loader))["video"]
    assert not torch.equal(first, second)
    assert torch.equal(second, dataset[0]["video"])


def test_a_plain_loader_without_our_collate_works(encoded: Path) -> None:
    batch = next(iter(DataLoader(ClipDataset(encoded, frames=8, crop=32), batch_size=3)))
    assert batch["video"].shape == (3, 3, 8, 32, 32)
    assert batch["label"].tolist() == ClipDataset(encoded, crop=32).index["class"].to_pylist()[:3]


def test_a_pickled_dataset_gives_the_same_sample(encoded: Path) -> None:
    dataset = ClipDataset(encoded, frames=8, crop=32)
    dataset.set_epoch(4)
    sample = dataset[1]
    other = pickle.load(io.BytesIO(pickle.dumps(dataset)))
    assert torch.equal(other[1]["video"], sample["video"])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_set_epoch_of_a_copy_reaches_its_workers(encoded: Path, copied) -> None:  # type: ignore[no-untyped-def]
    dataset = copied(ClipDataset(encoded, frames=8, crop=32))
    loader = DataLoader(
        dataset, batch_size=None, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    next(iter(loader))
    dataset.set_epoch(1)
    assert torch.equal(next(iter(loader))["video"], dataset[0]["video"])


def test_a_collation_that_leaves_samples_as_they_are_gets_them_from_workers(encoded: Path) -> None:
    dataset = ClipDataset(encoded, frames=8, crop=32, raw=True)
    dataset.set_epoch(0)
    batch = next(iter(DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=list, timeout=60)))
    whole = next(iter(DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=_as_it_is, timeout=60)))
    for number, (one, other) in enumerate(zip(batch, whole, strict=True)):
        assert torch.equal(one["video"], dataset[number]["video"])
        assert torch.equal(other["video"], dataset[number]["video"])


def _as_it_is(samples: list) -> list:
    return samples


def test_clips_of_several_sizes_make_no_batch_and_are_named(encoded: Path) -> None:
    samples = [ClipDataset(encoded, frames=8, crop=crop)[number] for number, crop in enumerate((32, 16))]
    with pytest.raises(UserError, match=rf"{samples[0]['clip_id']} and {samples[1]['clip_id']} make no batch.*16, 16"):
        collate(samples)


@pytest.mark.parametrize("index", [1.0, "1", None])
def test_an_index_that_is_no_whole_number_is_refused(encoded: Path, index: object) -> None:
    with pytest.raises(TypeError):
        ClipDataset(encoded, frames=8, crop=32)[index]  # type: ignore[index]


def test_samples_end_where_the_dataset_does(encoded: Path) -> None:
    dataset = ClipDataset(encoded, frames=2, crop=32)
    assert len(list(dataset)) == len(dataset) == 9  # type: ignore[call-overload]
    assert dataset[-1]["clip_id"] == dataset[8]["clip_id"]
