"""Whoever trains on the shards sees every clip once an epoch, and other crops in the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset, ClipSampler, collate
from kinetics_pipeline.recipe import Recipe
from tests.builders.clips import asked_clips, built
from tests.builders.trainers import IN_SEVERAL_PROCESSES, TRAINERS, Seen, clips_of, seen_in

CLIPS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("trainers") / "data"
    return built(folder, CLIPS, recipe=Recipe(short_side=48, flow="none")).store.uri


def require_every_clip_once_and_other_crops(seen: Seen) -> None:
    for epoch in seen:
        assert sorted(clip for clip, _ in epoch) == sorted(clip.clip_id for clip in asked_clips(CLIPS))
    assert len({pair for epoch in seen for pair in epoch}) == len(seen) * CLIPS


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.parametrize("train", TRAINERS.values(), ids=TRAINERS.keys())
def test_an_epoch_is_every_clip_once_with_crops_of_its_own(folder: str, train: Callable[[str], Seen]):
    require_every_clip_once_and_other_crops(train(folder))


@pytest.mark.slow
@pytest.mark.parametrize("train", IN_SEVERAL_PROCESSES.values(), ids=IN_SEVERAL_PROCESSES.keys())
def test_processes_share_the_clips_of_an_epoch(folder: str, train: Callable[[str], Seen]):
    require_every_clip_once_and_other_crops(train(folder))


def test_random_numbers_of_torch_decide_over_crops_where_no_epoch_is_said(folder: str):
    clips = clips_of(folder)
    torch.manual_seed(3)
    first = clips[0]["video"]
    assert not torch.equal(first, clips[0]["video"])
    torch.manual_seed(3)
    assert torch.equal(first, clips[0]["video"])


def test_our_sampler_is_left_alone_by_whoever_knows_torchs():
    assert issubclass(ClipSampler, DistributedSampler)


def test_a_state_that_would_lose_the_clips_that_workers_hold_is_refused(folder: str):
    clips = clips_of(folder)
    sampler = ClipSampler(clips, seed=1)
    whole = [*seen_in(DataLoader(clips, 2, sampler=ClipSampler(clips, seed=1), collate_fn=collate))]
    batches = iter(DataLoader(clips, 2, sampler=sampler, collate_fn=collate, num_workers=2))
    begun = [*seen_in([next(batches)])]
    with pytest.raises(UserError, match=r"give state_dict\(taken=batches \* batch_size\)"):
        sampler.state_dict()
    following = ClipSampler(clips, seed=1)
    following.load_state_dict(sampler.state_dict(taken=2))
    assert [*begun, *seen_in(DataLoader(clips, 2, sampler=following, collate_fn=collate))] == whole


def test_a_transform_is_given_frames_and_its_values_are_finished_like_stored_ones(folder: str):
    shapes = []

    def darker(video: torch.Tensor) -> torch.Tensor:
        shapes.append((video.dtype, tuple(video.shape)))
        return video // 2

    options = {"frames": 4, "crop": 24, "train": True}
    for raw in (True, False):
        plain, changed = (ClipDataset(folder, raw=raw, transform=t, **options) for t in (None, darker))  # type: ignore[arg-type]
        for clips in (plain, changed):
            clips.set_epoch(1)
        one, other = (collate(clips.__getitems__([0, 1, 2])) for clips in (plain, changed))
        if raw:
            assert torch.equal(other["video"], one["video"] // 2)
            assert torch.equal(other["flip"], one["flip"])
        else:
            stored = ((one["video"] + 1) * 127.5).round() // 2
            assert torch.allclose(other["video"], stored / 127.5 - 1, atol=1e-5)
    assert set(shapes) == {(torch.uint8, (4, 3, 24, 24))}


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda video: video.float(), r"float32 \[4, 3, 24, 24\]; allowed: uint8 \[T, C, H, W\]"),
        (lambda video: video[:, :1], r"uint8 \[4, 1, 24, 24\]; allowed: C = 3"),
        (lambda video: None, "NoneType; allowed: uint8"),
    ],
)
def test_what_a_transform_must_not_return_is_named(folder: str, transform: Callable[..., object], said: str):
    with pytest.raises(UserError, match=f"^transform returned {said}"):
        clips_of(folder, transform=transform)[0]


def test_rgb_and_flow_are_given_to_a_transform_together(tmp_path: Path):
    built(tmp_path / "data", 1)
    clips = ClipDataset(
        tmp_path / "data", stream="both", frames=4, crop=24, transform=lambda rgb, flow: (rgb[..., :8], flow[..., :8])
    )
    assert clips[0]["video"].shape == (3, 4, 24, 8)
    assert clips[0]["flow"].shape == (2, 4, 24, 8)


class Marked(ClipDataset):
    def __getitem__(self, index: int) -> dict:
        return super().__getitem__(index) | {"mark": int(index)}


def test_a_subclasss_own_getitem_is_never_bypassed(folder: str):
    batch = next(iter(DataLoader(Marked(folder, frames=4, crop=24, raw=True), 3, collate_fn=collate)))
    assert batch["mark"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("raw", [False, True])
def test_clips_of_several_sizes_are_named_by_torchs_own_collation_too(tmp_path: Path, workers: int, raw: bool):
    names = [clip.clip_id for clip in asked_clips(2)]
    built(tmp_path / "data", 2, recipe=Recipe(short_side=48, flow="none"), frames={names[0]: 20})
    clips = ClipDataset(tmp_path / "data", frames=None, crop=24, raw=raw)
    with pytest.raises(UserError, match=r"clips v00\d\w+ and v00\d\w+ make no batch: they are \[3, \d+, 24, 24\]"):
        next(iter(DataLoader(clips, 2, num_workers=workers)))
    listed = next(iter(DataLoader(clips, 2, num_workers=workers, collate_fn=list)))
    assert sorted(sample["video"].shape[1] for sample in listed) == [20, 40]
    assert type(torch.stack([sample["video"][:, 0] for sample in listed])) is torch.Tensor


def test_classes_that_are_chosen_may_be_numbered_again(folder: str):
    clips = ClipDataset(folder, frames=4, crop=24, classes=["up", "right"], renumber=True)
    assert clips.classes == ["right", "up"]
    labels = {sample["clip_id"]: sample["label"] for sample in map(clips.__getitem__, range(len(clips)))}
    expected = {
        clip.clip_id: clips.classes.index(str(clip.label)) for clip in asked_clips(CLIPS) if clip.label != "left"
    }
    assert labels == expected
    assert set(clips.index["class"].to_pylist()) == {0, 1}
    with pytest.raises(UserError, match="renumber is True, but no classes are chosen"):
        ClipDataset(folder, frames=4, crop=24, renumber=True)


def test_ids_that_the_dataset_does_not_hold_are_named(folder: str):
    known = asked_clips(1)[0].clip_id
    with pytest.warns(UserWarning, match=r"clips names 2 ids of which .* holds no clip that is ok: nobody, nowhere$"):
        clips = ClipDataset(folder, frames=4, crop=24, clips=["nowhere", known, "nobody"])
    assert clips.unknown_clips == ["nobody", "nowhere"]
    assert len(clips) == 1


def test_an_option_that_there_is_not_is_refused_like_any_wrong_keyword(folder: str):
    with pytest.raises(TypeError, match="unexpected keyword argument 'clases'; allowed: "):
        ClipDataset(folder, clases=["up"])  # type: ignore[call-arg]
