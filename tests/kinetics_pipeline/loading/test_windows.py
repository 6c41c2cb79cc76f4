"""Windows a fixed step apart: of a `ClipDataset`, and of the class that stands in for torchvision's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset, ClipSampler, Kinetics
from kinetics_pipeline.recipe import Recipe
from tests.builders.clips import CLASSES, asked_clips, built

IDS = [clip.clip_id for clip in asked_clips(5)]
FRAMES = {IDS[0]: 40, IDS[1]: 11, IDS[2]: 3, IDS[3]: 16, IDS[4]: 40}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return built(tmp_path / "data", count=5, recipe=Recipe(short_side=48, flow="none"), frames=FRAMES)


def whole(dataset: Dataset) -> dict[str, np.ndarray]:
    clips = ClipDataset(dataset.store.uri, frames=None, crop=None, train=False, raw=True)
    return {clip["clip_id"]: clip["video"].numpy() for clip in (clips[k] for k in range(len(clips)))}


def unfolded(video: np.ndarray, size: int, step: int) -> list[np.ndarray]:
    """torchvision's `unfold`: torch's own over time."""
    if video.shape[1] < size:
        return []
    windows = torch.from_numpy(video).unfold(1, size, step)  # C, N, H, W, T
    return [windows[:, number].permute(0, 3, 1, 2).numpy() for number in range(windows.shape[1])]


def test_the_windows_are_those_of_torch_and_a_short_clip_is_looped(dataset: Dataset) -> None:
    videos = whole(dataset)
    clips = ClipDataset(dataset.store.uri, frames=8, crop=None, train=False, raw=True, step_between_clips=5)
    found: dict[str, list[np.ndarray]] = {}
    for number in range(len(clips)):
        found.setdefault(clips[number]["clip_id"], []).append(clips[number]["video"].numpy())
    assert list(found) == clips.index["clip_id"].to_pylist()
    for clip, windows in found.items():
        wanted = unfolded(videos[clip], 8, 5) or [videos[clip][:, [0, 1, 2, 0, 1, 2, 0, 1]]]
        assert len(windows) == len(wanted)
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(windows, wanted, strict=True))


def test_a_sampler_takes_every_window_once(dataset: Dataset) -> None:
    clips = ClipDataset(dataset.store.uri, frames=8, crop=32, step_between_clips=5)
    assert sorted(ClipSampler(clips)) == list(range(len(clips)))


def test_items_are_as_torchvisions(dataset: Dataset) -> None:
    videos = whole(dataset)
    kinetics = Kinetics(dataset.store.uri, frames_per_clip=8, split="train", step_between_clips=5)
    order = kinetics.shards.index["clip_id"].to_pylist()
    wanted = [(clip, window) for clip in order for window in unfolded(videos[clip], 8, 5)]
    assert len(kinetics) == len(wanted)
    labels = {clip.clip_id: CLASSES.index(str(clip.label)) for clip in asked_clips(5)}
    for number, (clip, window) in enumerate(wanted):
        video, audio, label = kinetics[number]
        assert video.dtype == torch.uint8
        assert np.array_equal(video.numpy(), window.transpose(1, 0, 2, 3))  # T, C, H, W
        assert (audio.shape, label) == ((1, 0), labels[clip])
    assert torch.equal(kinetics[-1][0], kinetics[len(kinetics) - 1][0])


@pytest.mark.parametrize("rate", [12.5, 10.0, 50.0])
def test_another_frame_rate_takes_the_frames_that_torchvision_takes(dataset: Dataset, rate: float) -> None:
    videos = whole(dataset)
    kinetics = Kinetics(dataset.store.uri, 4, frame_rate=rate, step_between_clips=3)
    first = kinetics.shards.index["clip_id"][0].as_py()
    step = 25 / rate
    frames = videos[first][:, np.floor(np.arange(np.floor(videos[first].shape[1] / step)) * step).astype(int)]
    for number, window in enumerate(unfolded(frames, 4, 3)):
        assert np.array_equal(kinetics[number][0].numpy(), window.transpose(1, 0, 2, 3))


def test_a_transform_gets_the_video_in_the_order_asked(dataset: Dataset) -> None:
    kinetics = Kinetics(dataset.store.uri, 4, transform=lambda video: list(video.shape), output_format="THWC")
    assert kinetics[0][0] == [4, 48, 64, 3]


@pytest.mark.parametrize(
    "wrong",
    [{"frames_per_clip": 0}, {"frames_per_clip": 41}, {"step_between_clips": 0}, {"frame_rate": 0.0}, {"split": "val"}],
)
def test_arguments_that_cannot_be_are_refused(dataset: Dataset, wrong: dict) -> None:
    with pytest.raises(UserError):
        Kinetics(dataset.store.uri, **{"frames_per_clip": 8, **wrong})
